"""A call that the fleet lost is never `completed`: once five callers who had been cut off stood as completed, since the
carrier's hangup came after we had closed their streams for want of a worker."""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import websockets

from shared.calls.state import CallEvent
from shared.fleet.death import DeathCause, DeathNote
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.sfvopi.closing import CloseCode
from tests.unit.gateway.test_culprits import attach_directly, die, fleet, route, seated
from tests.unit.gateway.test_reattaching import closed_with, kill, nothing_is_left

CALL = "c-1"
HANGUP = {"call_uuid": CALL, "call_status": "COMPLETED", "duration": 42}


async def outcome(house: Any, **hangup: Any) -> tuple[str, str, str]:
    """Reason, result and detail after the carrier's hangup webhook."""
    assert (await house.post("hangup", HANGUP | hangup)).status_code == 200
    record = await house.registry.get(CALL)
    return record.reason, str(record.result), record.detail


@pytest.fixture
async def house(open_house: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A gateway that gives a call up after half a second without a worker."""
    monkeypatch.setattr("gateway.attaching.DEADLINE_S", 0.5)
    monkeypatch.setattr("gateway.attaching.FIRST_DEADLINE_S", 0.2)
    return await open_house(reconnect_window_s=0, heartbeat_s=0.3, lease_s=1.2)


async def test_a_relayed_call_that_was_closed_for_want_of_a_worker_has_failed(house: Any) -> None:
    worker = await house.start_worker()
    async with house.connect((await house.answer(CALL)).url) as carrier:
        await kill(worker)
        assert await closed_with(carrier) == 1011
    await nothing_is_left(house)
    assert await outcome(house) == ("worker_lost", "failed", "no worker")
    assert house.metric("sfvopi_calls_total", result="failed", reason="worker_lost") == 1
    assert house.metric("sfvopi_calls_total", result="completed", reason="caller_hung_up") == 0


async def test_one_that_a_worker_took_after_all_has_not(house: Any) -> None:
    worker = await house.start_worker()
    url = (await house.answer(CALL)).url
    async with house.connect(url) as carrier:
        await kill(worker)
        assert await closed_with(carrier) == 1011
    assert (await house.registry.get(CALL)).is_lost
    await house.start_worker("w2")
    async with house.connect(url):  # the carrier comes again
        await seated(house, but="w1")
        assert not (await house.registry.get(CALL)).is_lost
        assert await outcome(house) == ("caller_hung_up", "completed", "")


@pytest.mark.parametrize("path", ["relayed", "direct"])
async def test_a_first_stream_that_was_refused_for_want_of_a_worker_has_never_attached(house: Any, path: str) -> None:
    worker = await house.start_worker()
    url = (await house.answer(CALL)).url
    await worker.beat(10, WorkerState.DRAINING)
    worker.refuse_with = 503
    if path == "direct":
        assert (await route(house, url))[0] == 503
    else:
        with pytest.raises(websockets.InvalidStatus):
            await house.connect(url)
    assert await outcome(house, duration=1) == ("never_attached", "failed", "draining")


async def test_a_first_stream_that_its_worker_refuses_and_no_other_takes_has_never_attached(house: Any) -> None:
    worker = await house.start_worker()
    url = (await house.answer(CALL)).url
    worker.refuse_with = 503
    with pytest.raises(websockets.InvalidStatus):
        await house.connect(url)
    assert await outcome(house, duration=1) == ("never_attached", "failed", "no worker took the stream")


@pytest.mark.parametrize("path", ["relayed", "direct"])
async def test_a_later_stream_that_was_refused_for_want_of_a_worker_has_lost_its_worker(house: Any, path: str) -> None:
    worker = await house.start_worker()
    url = (await house.answer(CALL)).url
    await attach_directly(house, worker, url)
    await kill(worker)
    await house.registry.remove_worker("w1")
    if path == "direct":
        assert (await route(house, url))[0] == 503
    else:
        with pytest.raises(websockets.InvalidStatus):
            await house.connect(url)
    assert await outcome(house) == ("worker_lost", "failed", "full")


async def test_a_stream_that_a_gateway_cut_when_it_went_away_has_failed_unless_it_comes_back(house: Any) -> None:
    await house.start_worker()
    async with house.connect((await house.answer(CALL)).url) as carrier:
        await seated(house)
        house.gateway.streams.cut_all(CloseCode.GOING_AWAY)
        assert await closed_with(carrier) == 1001
    await nothing_is_left(house)
    assert await outcome(house) == ("worker_lost", "failed", "its gateway went away")


async def test_a_refusal_while_the_registry_is_away_is_known_before_the_hangup_that_waited(house: Any) -> None:
    worker = await house.start_worker()
    url = (await house.answer(CALL)).url
    await attach_directly(house, worker, url)
    await kill(worker)
    house.registry.is_away = True
    with pytest.raises(websockets.InvalidStatus):
        await house.connect(url)
    await house.post("hangup", HANGUP)
    house.registry.is_away = False
    await house.until(lambda: house.metric("sfvopi_calls_total", result="failed", reason="worker_lost") == 1)


# -- the direct path, whose carrier never comes back: its hangup is all that is heard


@pytest.mark.parametrize("with_note", [True, False])
async def test_a_hangup_right_after_its_workers_death_is_a_lost_call(house: Any, with_note: bool) -> None:
    (worker,) = await fleet(house, 1)
    url = (await house.answer(CALL)).url
    await house.gateway.beat()
    await attach_directly(house, worker, url)
    if with_note:
        await die(house, worker)
    else:
        await kill(worker)
    reason, result, detail = await outcome(house)
    assert (reason, result) == ("worker_lost", "failed")
    assert detail == ("its worker died: crashed" if with_note else "its worker died")


async def test_a_hangup_whose_worker_was_started_anew_meanwhile_is_a_lost_call(house: Any) -> None:
    """Something listens there again; the note says that it is another one."""
    (worker,) = await fleet(house, 1)
    url = (await house.answer(CALL)).url
    await house.gateway.beat()
    await attach_directly(house, worker, url)
    note = DeathNote("w1", 1, house.registry.now_ms(), DeathCause.OUTSIDE, detail="SIGKILL")
    await house.registry.record_death(note)
    assert await outcome(house) == ("worker_lost", "failed", "its worker died: SIGKILL")


async def test_a_caller_who_hangs_up_has_completed_the_call_and_the_carrier_is_answered_at_once(house: Any) -> None:
    (worker,) = await fleet(house, 1)
    await house.gateway.beat()
    await attach_directly(house, worker, (await house.answer(CALL)).url)
    began_at = time.monotonic()
    assert await outcome(house) == ("caller_hung_up", "completed", "")
    assert time.monotonic() - began_at < 0.1


@pytest.mark.parametrize(
    ("lives", "came_to"),
    [(False, ("worker_lost", "its worker is unreachable")), (True, ("caller_hung_up", ""))],
    ids=["dead", "alive behind a firewall"],
)
async def test_a_machine_that_does_not_answer_keeps_no_webhook_waiting(
    house: Any, monkeypatch: pytest.MonkeyPatch, lives: bool, came_to: tuple[str, str]
) -> None:
    """Its kernel neither refuses nor accepts: a listener with a full queue stands for it. The lease decides."""
    monkeypatch.setattr("gateway.worker_check.IN_THE_END_S", 0.3)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        fillers.append(filler)
    worker = WorkerRecord("w1", address, WorkerState.SERVING, 5)
    await house.registry.heartbeat(worker, [], 1_500)
    await house.gateway.beat()
    await house.answer(CALL)
    await house.registry.move(CALL, CallEvent.ATTACH, {"worker_id": "w1"})
    began_at = time.monotonic()
    assert (await outcome(house))[0] == "", "it is not known yet"
    assert time.monotonic() - began_at < 0.3
    async with asyncio.timeout(4):
        while not (record := await house.registry.get(CALL)).is_over:
            if lives:
                await house.registry.heartbeat(worker, [CALL], 1_500)
            await asyncio.sleep(0.05)
    assert (record.reason, record.detail) == came_to
    assert record.carrier_duration_s == 42
    for sock in [listener, *fillers]:
        sock.close()
