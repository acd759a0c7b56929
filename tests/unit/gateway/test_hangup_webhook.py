"""Hangup over HTTP: it ends the call, frees the slot, and tells whoever has a session."""

import asyncio
import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared.calls.state import CallEvent, CallState

HANGUP = {
    "call_uuid": "c-1",
    "from": "+919000000001",
    "to": "+918000000001",
    "direction": "INBOUND",
    "call_status": "COMPLETED",
    "duration": 42,
    "started_at": "2026-01-01T00:00:00.000Z",
    "answer_at": "2026-01-01T00:00:01.000Z",
    "ended_at": "2026-01-01T00:00:43.000Z",
    "hangup_cause": "16",
}


async def test_a_hangup_ends_the_call_frees_the_slot_and_adds_what_the_carrier_knows(house: Any) -> None:
    await house.start_worker()
    await house.answer("c-1")
    await house.registry.move("c-1", CallEvent.ATTACH, {})
    assert (await house.post("hangup", HANGUP)).status_code == 200
    record = await house.registry.get("c-1")
    assert (record.state, record.reason, record.result) == (CallState.ENDED, "caller_hung_up", "completed")
    assert (record.carrier_status, record.carrier_duration_s, record.hangup_cause) == ("COMPLETED", 42.0, "16")
    assert await house.used_slots() == 0
    assert await house.registry.outbox() == ["c-1"]
    assert house.metric("sfvopi_calls_total", result="completed", reason="caller_hung_up") == 1


async def test_a_caller_who_heard_nothing_and_gave_up_did_not_complete_a_call(house: Any) -> None:
    """A stream URL that the carrier cannot reach looked healthy: every caller waited, hung up, and had "completed"."""
    await house.start_worker()
    await house.answer("c-1")
    await house.post("hangup", HANGUP | {"duration": 12})
    record = await house.registry.get("c-1")
    assert (record.reason, record.result) == ("never_attached", "failed")


async def test_the_worker_of_a_live_call_is_told(house: Any) -> None:
    await house.start_worker("w1")
    await house.answer("c-1")
    await house.registry.move("c-1", CallEvent.ATTACH, {"worker_id": "w1"})
    nudges = house.registry.nudges("w1")
    nudge = asyncio.ensure_future(anext(nudges))
    await asyncio.sleep(0)
    await house.post("hangup", HANGUP)
    assert json.loads(await asyncio.wait_for(nudge, 2)) == {"call_id": "c-1"}
    await nudges.aclose()


async def test_a_second_hangup_changes_nothing_and_is_counted(house: Any) -> None:
    await house.start_worker()
    await house.answer("c-1")
    await house.registry.move("c-1", CallEvent.ATTACH, {})
    await house.post("hangup", HANGUP)
    assert (await house.post("hangup", HANGUP | {"call_status": "FAILED", "duration": 1})).status_code == 200
    record = await house.registry.get("c-1")
    assert (record.carrier_status, record.carrier_duration_s) == ("COMPLETED", 42.0)
    assert house.metric("sfvopi_webhook_seconds_count", webhook="hangup", result="accepted") == 1
    assert house.metric("sfvopi_webhook_seconds_count", webhook="hangup", result="duplicate") == 1
    assert house.metric("sfvopi_calls_total", result="completed", reason="caller_hung_up") == 1


async def test_a_hangup_after_our_own_end_adds_the_carriers_figures_and_keeps_our_reason(house: Any) -> None:
    await house.start_worker()
    await house.answer("c-1")
    await house.registry.move("c-1", CallEvent.END, {"reason": "bot_ended"})
    await house.post("hangup", HANGUP)
    record = await house.registry.get("c-1")
    assert (record.reason, record.carrier_status, record.carrier_duration_s) == ("bot_ended", "COMPLETED", 42.0)
    assert house.metric("sfvopi_calls_total", result="completed", reason="caller_hung_up") == 0


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("NO_ANSWER", "no_answer"),
        ("BUSY", "busy"),
        ("CANCELED", "canceled"),
        ("FAILED", "carrier_failed"),
        ("completed", "caller_hung_up"),
        ("SOMETHING_NEW", "carrier_failed"),
        ("", "carrier_failed"),
    ],
)
async def test_a_hangup_may_be_all_that_is_ever_heard_of_a_call(house: Any, status: str, reason: str) -> None:
    await house.post("hangup", {"request_uuid": "sfv_ob_req_1", "to": "+919000000001", "call_status": status})
    record = await house.registry.get("sfv_ob_req_1")
    assert (record.state, record.reason, record.to_number) == (CallState.ENDED, reason, "+919000000001")


async def test_a_call_that_we_refused_ends_as_refused_whatever_the_carrier_makes_of_it(house: Any) -> None:
    await house.post("answer", {"call_uuid": "c-1"})
    await house.post("hangup", HANGUP | {"call_status": "FAILED", "duration": 0})
    record = await house.registry.get("c-1")
    assert (record.reason, record.result, record.carrier_status) == ("no_capacity", "refused", "FAILED")


async def test_a_hangup_while_the_registry_is_away_is_done_when_it_is_back(open_house: Any) -> None:
    house = await open_house(heartbeat_s=0.02)
    await house.start_worker()
    await house.answer("c-1")
    house.registry.is_away = True
    response = await house.post("hangup", HANGUP)
    assert response.status_code == 200
    assert house.metric("sfvopi_webhook_seconds_count", webhook="hangup", result="error") == 1
    house.registry.is_away = False
    async with asyncio.timeout(2):
        while (await house.registry.get("c-1")).state is not CallState.ENDED:
            await asyncio.sleep(0.005)
    assert await house.used_slots() == 0


async def test_a_hangup_that_still_waits_when_the_gateway_ends_is_tried_once_more(open_house: Any) -> None:
    house = await open_house(heartbeat_s=60, lease_s=600)
    await house.start_worker()
    await house.answer("c-1")
    house.registry.is_away = True
    await house.post("hangup", HANGUP)
    house.registry.is_away = False
    await house.gateway.close()
    assert (await house.registry.get("c-1")).state is CallState.ENDED


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_registry_that_stays_away_does_not_keep_the_gateway_from_ending(
    open_house: Any, hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await open_house(heartbeat_s=60, lease_s=600)
    house.registry.is_away = True
    for number in range(3):
        await house.post("hangup", HANGUP | {"call_uuid": f"c-{number}"})
    if hangs:
        monkeypatch.setattr(house.registry, "get", lambda _: asyncio.sleep(60))
        monkeypatch.setattr("gateway.hangups.LAST_TRY_S", 0.1)
    with capture_logs() as lines:
        async with asyncio.timeout(2):
            await house.gateway.hangups.close()
    assert [line["count"] for line in lines if line["event"].startswith("hangups were not")] == [3]


@pytest.mark.parametrize("field", ["duration", "hangup_cause", "call_status", "from", "to", "ended_at"])
@pytest.mark.parametrize("value", [None, [], {}, "x" * 9000, -1e300, "NaN", True])
async def test_an_absurd_field_does_not_keep_a_hangup_from_ending_its_call(house: Any, field: str, value: Any) -> None:
    await house.start_worker()
    await house.answer("c-1")
    assert (await house.post("hangup", HANGUP | {field: value})).status_code == 200
    assert (await house.registry.get("c-1")).state is CallState.ENDED


@pytest.mark.parametrize("body", [b"[]", b"{}", b"\xff", b'{"call_uuid": 5}', b'{"call_uuid": "' + b"x" * 200 + b'"}'])
@pytest.mark.parametrize("name", ["hangup", "ring"])
async def test_a_hangup_or_ring_without_a_usable_id_is_told_so(house: Any, name: str, body: bytes) -> None:
    response = await house.http.post(f"/webhook/{name}", content=body)
    assert response.status_code == 400
    assert response.json()["error"]
    assert await house.registry.recent_calls() == []


async def test_a_hangup_by_get_counts_too(house: Any) -> None:
    await house.start_worker()
    await house.answer("c-1")
    assert (await house.http.get("/webhook/hangup", params=HANGUP)).status_code == 200
    assert (await house.registry.get("c-1")).carrier_duration_s == 42.0


async def test_ten_hangups_at_once_end_one_call_once(house: Any) -> None:
    await house.start_worker()
    await house.answer("c-1")
    await house.registry.move("c-1", CallEvent.ATTACH, {})
    await asyncio.gather(*(house.post("hangup", HANGUP) for _ in range(10)))
    assert house.metric("sfvopi_calls_total", result="completed", reason="caller_hung_up") == 1
    assert await house.registry.outbox() == ["c-1"]
