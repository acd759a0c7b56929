"""Answer and fallback over HTTP."""

import asyncio
from typing import Any

import httpx2
import pytest

from gateway.fields import MAX_BODY_BYTES
from shared.calls.state import CallEvent, CallState
from shared.fleet.worker import WorkerState
from shared.registry import MemoryRegistry
from shared.settings import SettingsError
from shared.tokens import verify_token

ANSWER = {
    "call_uuid": "c-1",
    "from": "+919000000001",
    "to": "+918000000001",
    "direction": "INBOUND",
    "call_status": "IN_PROGRESS",
    "answered_at": "2026-01-01T00:00:00.000Z",
}


def token_of(url: str, secret: str = "the-signing-key") -> Any:
    return verify_token(url.rsplit("/", 1)[1], [secret], 0)


async def test_an_answer_reserves_records_and_says_where_the_stream_goes(house: Any) -> None:
    await house.start_worker("w1")
    before_ms = house.registry.now_ms()
    response = await house.post("answer", ANSWER)
    assert response.status_code == 200
    stream = response.json()["stream"]
    assert stream["url"].startswith(f"ws://127.0.0.1:{house.public.port}/ws/")
    assert (stream["codec"], stream["sample_rate"], stream["direction"]) == ("PCMA", 8000, "BOTH")
    assert stream["stream_timeout"] == 3660
    assert stream["extra_headers"] == {"X-Call-UUID": "c-1"}
    assert "bidirectional" not in stream
    assert "keep_call_alive" not in stream
    token = token_of(stream["url"])
    assert (token.call_id, token.worker_id) == ("c-1", "w1")
    assert 60_000 <= token.attach_by_ms - before_ms < 62_000
    assert 3_900_000 <= token.valid_until_ms - before_ms < 3_902_000
    record = await house.registry.get("c-1")
    assert record.state is CallState.RESERVED
    assert (record.from_number, record.to_number, record.direction) == ("+919000000001", "+918000000001", "INBOUND")
    assert (record.bot, record.worker_id) == ("worker.bots.receptionist:bot", "w1")
    assert await house.used_slots() == 1
    assert house.metric("sfvopi_admissions_total", result="reserved") == 1
    assert house.metric("sfvopi_answer_seconds_count") == 1


async def test_what_an_answer_does_not_tell_erases_nothing_that_the_ring_has_told(house: Any) -> None:
    """An answer without numbers once emptied those that the ring webhook had brought."""
    await house.start_worker()
    await house.post("ring", ANSWER | {"call_status": "RINGING"})
    await house.post("answer", {"call_uuid": "c-1"})
    record = await house.registry.get("c-1")
    assert record.state is CallState.RESERVED
    assert (record.from_number, record.to_number, record.direction) == ("+919000000001", "+918000000001", "INBOUND")


async def test_what_the_gateway_did_stands_in_timeline_and_record(house: Any) -> None:
    await house.start_worker()
    await house.answer("c-1")
    async with asyncio.timeout(2):
        while "answer_ms" not in (await house.registry.get("c-1")).figures:
            await asyncio.sleep(0.005)
    assert await house.timeline("c-1") == ["webhook", "reserved"]


async def test_a_get_is_answered_like_a_post(house: Any) -> None:
    await house.start_worker()
    response = await house.http.get("/webhook/answer", params=ANSWER)
    assert response.status_code == 200
    assert (await house.registry.get("c-1")).to_number == "+918000000001"


async def test_asking_twice_is_one_call_with_one_slot_also_between_primary_and_fallback(house: Any) -> None:
    await house.start_worker("w1")
    await house.start_worker("w2")
    answers = [await house.answer("c-1", name) for name in ("answer", "answer", "fallback", "fallback")]
    assert {token_of(answer.url).worker_id for answer in answers} == {token_of(answers[0].url).worker_id}
    assert await house.used_slots() == 1
    assert house.metric("sfvopi_admissions_total", result="reserved") == 1
    assert house.metric("sfvopi_admissions_total", result="repeated") == 3
    assert house.metric("sfvopi_webhook_seconds_count", webhook="fallback", result="duplicate") == 2


async def test_a_repeated_answer_promises_no_more_time_than_the_slot_has(open_house: Any, clock: Any) -> None:
    house = await open_house(MemoryRegistry(clock))
    await house.start_worker()
    first = token_of((await house.answer("c-1")).url)
    clock.forward(20_000)
    again = [token_of((await house.answer("c-1", name)).url) for name in ("answer", "fallback")]
    assert {token.attach_by_ms for token in again} == {first.attach_by_ms}
    assert first.attach_by_ms == clock() + 40_000


async def test_asked_at_the_same_moment_it_is_still_one_call(house: Any) -> None:
    await house.start_worker("w1")
    await house.start_worker("w2")
    await asyncio.gather(*(house.answer("c-1", name) for name in ["answer", "fallback"] * 10))
    assert await house.used_slots() == 1
    assert house.metric("sfvopi_admissions_total", result="reserved") == 1


async def test_a_live_call_that_is_answered_again_keeps_its_worker_and_its_format(house: Any) -> None:
    worker = await house.start_worker("w1")
    await house.start_worker("w2")
    first = await house.answer("c-1")
    async with house.connect(first.url):
        await house.until(lambda: [s for w in house.workers for s in w.streams])
        again = await house.answer("c-1", "fallback")
        assert token_of(again.url).worker_id == token_of(first.url).worker_id
        assert again.format == first.format
        assert (await house.registry.get("c-1")).state is CallState.ACTIVE
    assert worker is house.workers[0]


async def test_without_capacity_the_primary_refuses_fast_and_says_when_to_come_back(house: Any) -> None:
    await house.start_worker(capacity=1)
    await house.answer("c-1")
    response = await house.post("answer", ANSWER | {"call_uuid": "c-2"})
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert house.metric("sfvopi_admissions_total", result="refused") == 1
    assert (await house.registry.get("c-2")).state is CallState.RINGING


async def test_a_call_refused_by_the_primary_is_placed_by_the_fallback_when_a_slot_came_free(house: Any) -> None:
    await house.start_worker(capacity=1)
    await house.answer("c-1")
    assert (await house.post("answer", ANSWER | {"call_uuid": "c-2"})).status_code == 503
    await house.post("hangup", {"call_uuid": "c-1", "call_status": "COMPLETED"})
    assert token_of((await house.answer("c-2", "fallback")).url).worker_id == "w1"
    record = await house.registry.get("c-2")
    assert (record.state, record.detail) == (CallState.RESERVED, "")


async def test_draining_and_starting_workers_get_no_calls(house: Any) -> None:
    await house.start_worker("w1", state=WorkerState.DRAINING)
    await house.start_worker("w2", state=WorkerState.STARTING)
    assert (await house.post("answer", ANSWER)).status_code == 503


async def test_hangup_before_answer_the_call_is_refused_and_its_slot_given_back(house: Any) -> None:
    await house.start_worker()
    await house.post("hangup", {"call_uuid": "c-1", "call_status": "CANCELED", "duration": 0})
    response = await house.post("answer", ANSWER)
    assert response.status_code == 410
    assert await house.used_slots() == 0
    assert house.metric("sfvopi_admissions_total", result="ended") == 1
    record = await house.registry.get("c-1")
    assert (record.state, record.reason) == (CallState.ENDED, "canceled")


async def test_an_answer_repeated_after_the_end_is_refused_too(house: Any) -> None:
    await house.start_worker()
    await house.answer("c-1")
    await house.post("hangup", {"call_uuid": "c-1", "call_status": "COMPLETED"})
    assert (await house.post("answer", ANSWER)).status_code == 410
    assert await house.used_slots() == 0


async def test_with_the_registry_away_the_primary_refuses_and_the_fallback_says_busy(house: Any) -> None:
    await house.start_worker()
    house.registry.is_away = True
    refused = await house.post("answer", ANSWER)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    answer = await house.answer("c-1", "fallback")
    assert token_of(answer.url).worker_id == ""
    assert house.metric("sfvopi_registry_errors_total") >= 1


async def test_a_ringing_call_is_known_before_it_is_answered(house: Any) -> None:
    await house.start_worker()
    ring = {"request_uuid": "sfv_ob_req_1", "from": "+918000000001", "to": "+919000000001", "direction": "OUTBOUND"}
    assert (await house.post("ring", ring)).status_code == 200
    assert (await house.registry.get("sfv_ob_req_1")).state is CallState.RINGING
    await house.post("ring", ring)
    assert house.metric("sfvopi_webhook_seconds_count", webhook="ring", result="accepted") == 1
    assert house.metric("sfvopi_webhook_seconds_count", webhook="ring", result="duplicate") == 1


async def test_format_and_bot_are_those_of_the_number(open_house: Any, tmp_path: Any) -> None:
    (tmp_path / "bots.toml").write_text('["+918000000002"]\nbot = "a.b:c"\ncodec = "L16"\nsample_rate = 16000\n')
    house = await open_house(numbers_file=tmp_path / "bots.toml", codec="PCMU", max_call_s=100.5, bidirectional=True)
    await house.start_worker()
    inbound = await house.post("answer", ANSWER | {"to": "+918000000002"})
    stream = inbound.json()["stream"]
    assert (stream["codec"], stream["sample_rate"]) == ("L16", 16000)
    assert (stream["stream_timeout"], stream["bidirectional"]) == (161, True)
    assert (await house.registry.get("c-1")).bot == "a.b:c"
    outbound = {"call_uuid": "c-2", "from": "+918000000002", "to": "+919000000002", "direction": "OUTBOUND"}
    assert (await house.post("answer", outbound)).json()["stream"]["codec"] == "L16"
    assert (await house.post("answer", ANSWER | {"call_uuid": "c-3"})).json()["stream"]["codec"] == "PCMU"


async def test_the_stream_url_never_follows_what_a_client_says_of_hosts(house: Any) -> None:
    await house.start_worker()
    response = await house.http.post(
        "/webhook/answer",
        json=ANSWER,
        headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
    )
    assert "evil" not in response.text


@pytest.mark.parametrize("path", ["/webhook/answer", "/webhook/wrong/answer", "/webhook//answer", "/webhook/new/"])
async def test_with_secrets_set_no_other_path_answers(open_house: Any, path: str) -> None:
    house = await open_house(webhook_secrets="new,old")
    await house.start_worker()
    assert (await house.http.post(path, json=ANSWER)).status_code == 404
    assert await house.registry.get("c-1") is None


async def test_the_new_and_the_old_secret_both_answer(open_house: Any) -> None:
    house = await open_house(webhook_secrets="new,old")
    await house.start_worker()
    assert (await house.post("answer", ANSWER, "new")).status_code == 200
    assert (await house.post("answer", ANSWER | {"call_uuid": "c-2"}, "old")).status_code == 200


async def test_without_secrets_a_path_with_one_is_not_found(house: Any) -> None:
    assert (await house.post("answer", ANSWER, "anything")).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'[{"call_uuid": "c-1"}]',
        b'"c-1"',
        b"\xff\xfe\x00",
        b'{"call_uuid": "\xff"}',
        b"[" * MAX_BODY_BYTES,
        b"1" * 10_000,
        b"{}",
        b'{"call_uuid": null}',
        b'{"call_uuid": 17}',
        b'{"call_uuid": ["c-1"]}',
        b'{"call_uuid": {"a": 1}}',
        b'{"call_uuid": "' + b"x" * 5000 + b'"}',
        b'{"call_uuid": "a/../b"}',
        b'{"call_uuid": "{fleet}"}',
        b'{"call_uuid": "c-1", "to": {"a": "b"}}',
        b'{"call_uuid": "c-1", "to": "' + b"9" * 5000 + b'"}',
        b'{"call_uuid": "c-1", "direction": ["INBOUND"]}',
        b'{"call_uuid": "c-1\\u0000"}',
        b'{"call_uuid": "c-1\\n"}',
        b'{"call_uuid": "\\ud800"}',
    ],
)
@pytest.mark.parametrize("name", ["answer", "fallback"])
async def test_a_body_that_is_no_answer_webhook_gets_400_and_a_reason_and_places_nothing(
    house: Any, name: str, body: bytes
) -> None:
    await house.start_worker()
    response = await house.http.post(f"/webhook/{name}", content=body)
    assert response.status_code == 400
    assert response.json()["error"]
    assert await house.used_slots() == 0
    assert await house.registry.recent_calls() == []
    assert house.metric("sfvopi_webhook_seconds_count", webhook=name, result="rejected") == 1


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 1_000_000, 10_000_000])
async def test_a_body_that_is_too_long_gets_413_or_a_closed_door(house: Any, size: int, is_chunked: bool) -> None:
    await house.start_worker()
    body = b'{"call_uuid": "c-1", "x": "' + b"x" * size + b'"}'

    async def chunks() -> Any:
        for at in range(0, len(body), 50_000):
            yield body[at : at + 50_000]

    try:
        response = await house.http.post("/webhook/answer", content=chunks() if is_chunked else body)
        assert response.status_code == 413
    except httpx2.TransportError:
        assert size > 2_000_000  # so much is not even thrown away
    assert (await house.post("answer", ANSWER | {"call_uuid": "c-2"})).status_code == 200


async def test_a_body_that_does_not_come_gets_408(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.fields.BODY_DEADLINE_S", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.public.port)
    writer.write(b"POST /webhook/answer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert b" 408 " in await asyncio.wait_for(reader.readline(), 2)
    writer.close()


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_place_nothing(house: Any, method: str) -> None:
    await house.start_worker()
    response = await house.http.request(method, "/webhook/answer?call_uuid=c-1")
    assert response.status_code == 405
    assert await house.registry.get("c-1") is None


@pytest.mark.parametrize("path", ["/", "/webhook", "/webhook/", "/webhook/other", "/webhook/answer/", "/ws", "/ws/"])
async def test_nothing_else_is_there(house: Any, path: str) -> None:
    response = await house.http.post(path, json=ANSWER)
    assert response.status_code == 404
    assert "location" not in response.headers


async def test_a_registry_that_breaks_in_an_unforeseen_way_is_a_500_and_not_silence(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(house.registry, "reserve", breaks)
    response = await house.post("answer", ANSWER)
    assert (response.status_code, response.json()) == (500, {"error": "internal error"})


async def test_ring_moves_nothing_that_is_further_already(house: Any) -> None:
    await house.start_worker()
    await house.answer("c-1")
    await house.post("ring", {"call_uuid": "c-1"})
    assert (await house.registry.get("c-1")).state is CallState.RESERVED


async def test_an_answered_call_whose_worker_died_is_placed_on_another(house: Any) -> None:
    first = await house.start_worker("w1")
    await house.answer("c-1")
    await first.beat(10, lease_ms=0)
    await house.start_worker("w2")
    assert token_of((await house.answer("c-1", "fallback")).url).worker_id == "w2"


async def test_a_reserved_call_whose_workers_all_died_ends_with_a_busy_message(house: Any) -> None:
    first = await house.start_worker("w1")
    await house.answer("c-1")
    await first.beat(10, lease_ms=0)
    assert token_of((await house.answer("c-1", "fallback")).url).worker_id == ""
    assert (await house.registry.get("c-1")).reason == "busy_message"


async def test_a_live_call_is_not_ended_by_a_fallback_without_capacity(house: Any) -> None:
    worker = await house.start_worker("w1", capacity=1)
    await house.answer("c-1")
    await house.registry.occupy("c-1", "w1", 10_000)
    await house.registry.move("c-1", CallEvent.ATTACH, {"worker_id": "w1"})
    await worker.beat(1, lease_ms=0)
    assert token_of((await house.answer("c-1", "fallback")).url).worker_id == "w1"
    assert (await house.registry.get("c-1")).state is CallState.ACTIVE


async def test_a_bad_prompt_is_named_at_start(open_house: Any, tmp_path: Any) -> None:
    (tmp_path / "x.wav").write_bytes(b"no wav")
    with pytest.raises(SettingsError, match="SFVOPI_BUSY_WAV"):
        await open_house(busy_wav=tmp_path / "x.wav")
