"""A call that kills its workers: two die of it at most, then it hears the apology. No other call pays for it."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from shared.calls.state import CallState
from shared.fleet.death import DeathCause, DeathNote
from tests.unit.gateway.test_busy_message import write_wav
from tests.unit.gateway.test_reattaching import START, kill, nothing_is_left

CALL = "c-1"


@dataclass
class Caller:
    """What a carrier was sent, as long as it is read."""

    carrier: Any
    heard: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for text in self.carrier:
            self.heard.append(json.loads(text))

    async def closed_with(self) -> int:
        async with asyncio.timeout(8):
            await self.carrier.wait_closed()
        await asyncio.gather(self.listening, return_exceptions=True)
        return int(self.carrier.close_code)

    def count(self, event: str) -> int:
        return sum(message["event"] == event for message in self.heard)


@pytest.fixture
async def house(open_house: Callable[..., Any], tmp_path: Any) -> Any:
    return await open_house(apology_wav=write_wav(tmp_path / "apology.wav", 0.5))


async def fleet(house: Any, workers: int = 3) -> list[Any]:
    return [await house.start_worker(f"w{number}", started_at_ms=number) for number in range(1, workers + 1)]


async def die(house: Any, worker: Any, cause: DeathCause = DeathCause.CRASHED, call_id: str = "") -> None:
    """The worker is gone, and its parent says of what."""
    await kill(worker)
    note = DeathNote(worker.worker_id, worker.started_at_ms, house.registry.now_ms(), cause, call_id)
    await house.registry.record_death(note)


async def seated(house: Any, call_id: str = CALL, but: str = "") -> Any:
    """The worker that has the call's stream now."""
    async with asyncio.timeout(5):
        while True:
            record = await house.registry.get(call_id)
            found = [w for w in house.workers if w.worker_id == record.worker_id and record.state is CallState.ACTIVE]
            if found and found[0].worker_id != but and found[0].streams:
                return found[0]
            await asyncio.sleep(0.01)


async def judged(house: Any, call_id: str = CALL) -> list[dict[str, Any]]:
    await asyncio.sleep(0.2)  # what is noted is written a moment later
    return [dict(entry.data) for entry in await house.registry.timeline(call_id) if entry.event == "judged"]


async def test_two_workers_die_of_a_call_then_it_hears_the_apology_and_has_failed(house: Any) -> None:
    await fleet(house)
    async with house.connect((await house.answer(CALL)).url) as carrier:
        caller = Caller(carrier)
        await carrier.send(START)
        first = await seated(house)
        await die(house, first, call_id=CALL)
        second = await seated(house, but=first.worker_id)
        await die(house, second, DeathCause.FROZEN, CALL)
        assert await caller.closed_with() == 1000
    assert caller.count("playAudio") == 25, "half a second"
    record = await house.registry.get(CALL)
    assert (record.state, record.reason, record.result) == (CallState.ENDED, "poisonous", "failed")
    assert record.detail == f"killed {first.worker_id}, {second.worker_id}"
    assert [worker.worker_id for worker in house.workers if worker.streams] == ["w1", "w2"]
    assert await judged(house) == [
        {"verdict": "suspect", "outlived": ["w1"]},
        {"verdict": "convicted", "outlived": ["w1", "w2"]},
    ]
    assert house.metric("sfvopi_calls_total", result="failed", reason="poisonous") == 1
    assert house.metric("sfvopi_culprits_total", verdict="convicted") == 1
    assert await house.used_slots() == 0
    await house.post("hangup", {"call_uuid": CALL, "call_status": "COMPLETED", "duration": 9})
    assert (await house.registry.get(CALL)).reason == "poisonous"
    await nothing_is_left(house)


async def test_without_a_retry_the_first_death_is_the_last(open_house: Callable[..., Any]) -> None:
    house = await open_house(culprit_retries=0)
    await fleet(house)
    async with house.connect((await house.answer(CALL)).url) as carrier:
        await carrier.send(START)
        await die(house, await seated(house), call_id=CALL)
        await house.until(lambda: house.metric("sfvopi_calls_total", result="failed", reason="poisonous") == 1)
    assert sum(len(worker.streams) for worker in house.workers) == 1
    await nothing_is_left(house)


@pytest.mark.parametrize(
    ("cause", "named"),
    [(DeathCause.OUTSIDE, ""), (DeathCause.OUTSIDE, CALL), (DeathCause.ENDED, ""), (DeathCause.CRASHED, "another")],
)
async def test_a_passenger_is_placed_again_as_often_as_its_workers_die(
    house: Any, cause: DeathCause, named: str
) -> None:
    await fleet(house, 2)
    async with house.connect((await house.answer(CALL)).url) as carrier:
        await carrier.send(START)
        worker = await seated(house)
        for start in range(10, 18):
            await die(house, worker, cause, named)
            worker = await seated(house, but=worker.worker_id)
            for other in [w for w in house.workers if w.worker_id != worker.worker_id]:
                house.workers.remove(other)
                await other.server.stop()
                await house.start_worker(other.worker_id, started_at_ms=start)
        await worker.streams[-1].send("still here")
        assert await carrier.recv() == "still here"
    assert house.metric("sfvopi_culprits_total", verdict="suspect") == 0
    await nothing_is_left(house)


async def test_a_call_that_is_not_young_does_not_wait_for_the_note_of_its_first_death(house: Any) -> None:
    await fleet(house, 2)
    async with house.connect((await house.answer(CALL)).url) as carrier:
        await carrier.send(START)
        first = await seated(house)
        await house.registry.patch(CALL, {"seated_at_ms": house.registry.now_ms() - 6_000})
        began_at = time.monotonic()
        await kill(first)  # and nobody says of what
        await seated(house, but=first.worker_id)
        assert time.monotonic() - began_at < 0.8
    await nothing_is_left(house)


async def test_a_young_call_waits_for_the_note_and_goes_on_without_one(house: Any) -> None:
    await fleet(house, 2)
    async with house.connect((await house.answer(CALL)).url) as carrier:
        await carrier.send(START)
        first = await seated(house)
        began_at = time.monotonic()
        await kill(first)
        await seated(house, but=first.worker_id)
        assert 1 < time.monotonic() - began_at < 2.5
    assert await judged(house) == []
    await nothing_is_left(house)


async def test_two_culprits_at_once_never_meet_and_the_third_worker_keeps_its_calls(house: Any) -> None:
    """Both crash the worker that they are on together; their neighbour goes on."""
    workers = await fleet(house, 1)
    urls = {call_id: (await house.answer(call_id)).url for call_id in ("bad-1", "bad-2", "good")}
    async with (
        house.connect(urls["bad-1"]) as bad_1,
        house.connect(urls["bad-2"]) as bad_2,
        house.connect(urls["good"]) as good,
    ):
        for carrier in (bad_1, bad_2, good):
            await carrier.send(START)
        for call_id in urls:
            await seated(house, call_id)
        await house.registry.patch("good", {"seated_at_ms": house.registry.now_ms() - 6_000})
        await house.start_worker("w2", started_at_ms=2)
        await house.start_worker("w3", started_at_ms=3)
        await die(house, workers[0])  # nobody is named: each of the young ones may have done it
        moved = await seated(house, "good", but="w1")
        await house.until(lambda: house.metric("sfvopi_culprits_total", verdict="suspect") == 2)
        await asyncio.sleep(0.5)
        seats = {call_id: (await house.registry.get(call_id)).worker_id for call_id in ("bad-1", "bad-2")}
        assert sorted(seats.values())[0] == "w1", "one waits: there is room for one suspect at a time"
        assert moved.worker_id != next(worker_id for worker_id in seats.values() if worker_id != "w1")
    await nothing_is_left(house)


async def test_a_suspect_for_which_there_is_no_place_sits_beside_another_rather_than_nowhere(
    open_house: Callable[..., Any],
) -> None:
    """Twenty callers who had just come when their worker crashed, and nobody knows of whom: most are innocent."""
    house = await open_house(reconnect_window_s=1.6, heartbeat_s=0.7, lease_s=2.4)
    (first,) = await fleet(house, 1)
    calls = [f"c-{number}" for number in range(4)]
    async with contextlib.AsyncExitStack() as stack:
        for call_id in calls:
            carrier = await stack.enter_async_context(house.connect((await house.answer(call_id)).url))
            await carrier.send(START)
            await seated(house, call_id)
        second = await house.start_worker("w2", started_at_ms=2)
        await die(house, first)
        await house.until(lambda: len(second.streams) == 4, 6)
        assert house.metric("sfvopi_culprits_total", verdict="suspect") == 4
    await nothing_is_left(house)


async def test_a_suspect_that_waits_hears_music_and_is_seated_when_there_is_a_place(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.attaching.MUSIC_AFTER_S", 0.1)
    (first,) = await fleet(house, 1)
    async with house.connect((await house.answer(CALL)).url) as carrier:
        caller = Caller(carrier)
        await carrier.send(START)
        await seated(house)
        await die(house, first, call_id=CALL)
        await house.until(lambda: caller.count("playAudio") > 3)
        assert caller.count("clearAudio") == 0
        second = await house.start_worker("w2", started_at_ms=2)
        await house.until(lambda: second.streams)
        await house.until(lambda: caller.count("clearAudio") == 1)
        await house.until(lambda: second.streams[0].received == [START])
    await nothing_is_left(house)


# -- the direct path: nginx asks, and brings to the gateway what is to be judged


async def route(house: Any, url: str, failed: str = "") -> tuple[int, str]:
    path = "/ws/" + url.rsplit("/", 1)[1]
    answered = await house.inner.get("/route", headers={"X-Original-URI": path, "X-Failed-Worker": failed})
    return answered.status_code, answered.headers.get("X-Worker", "")


async def attach_directly(house: Any, worker: Any, url: str) -> None:
    """Nginx hands the socket over, and it closes with its worker."""
    address = f"ws://127.0.0.1:{worker.server.port}/ws/{url.rsplit('/', 1)[1]}"
    async with house.connect(address) as carrier:
        await carrier.send(START)
        await seated(house)


def own(house: Any) -> str:
    return f"127.0.0.1:{house.public.port}"


@pytest.mark.parametrize("how", ["failed", "silent", "started anew", "gone"])
async def test_on_the_direct_path_a_suspect_comes_to_a_gateway_and_a_passenger_does_not(house: Any, how: str) -> None:
    first, second = await fleet(house, 2)
    url = (await house.answer(CALL)).url
    await attach_directly(house, first, url)
    failed = ""
    match how:
        case "failed":
            failed = f"127.0.0.1:{first.server.port}"
        case "silent":
            await first.beat(10, lease_ms=0)
        case "started anew":
            first.started_at_ms = 50
            await first.beat(10)
        case "gone":
            await house.registry.remove_worker("w1")
    note = DeathNote("w1", 1, house.registry.now_ms(), DeathCause.OUTSIDE)
    await house.registry.record_death(note)
    status, worker = await route(house, url, failed)
    assert (status, worker != own(house)) == (204, True)
    await house.registry.record_death(DeathNote("w1", 1, note.at_ms, DeathCause.CRASHED, CALL))
    assert await route(house, url, failed) == (204, own(house))
    assert not second.streams


async def test_on_the_direct_path_the_second_death_ends_the_call_with_the_apology_by_any_gateway(
    house: Any, open_house: Callable[..., Any], tmp_path: Any
) -> None:
    """Nothing of it is kept in a gateway: another one, over the same registry, says the same."""
    first, second, _ = await fleet(house)
    url = (await house.answer(CALL)).url
    await attach_directly(house, first, url)
    await die(house, first, call_id=CALL)
    async with house.connect(url) as carrier:  # the second refusal of nginx comes here as well
        await carrier.send(START)
        assert (await seated(house, but="w1")) is second
    await die(house, second, call_id=CALL)
    other = await open_house(registry=house.registry, apology_wav=write_wav(tmp_path / "apology.wav", 0.5))
    failed = f"127.0.0.1:{second.server.port}"  # its lease holds yet
    assert await route(other, url, failed) == (204, own(other))
    async with other.connect(url.replace(own(house), own(other))) as carrier:
        caller = Caller(carrier)
        await carrier.send(START)
        assert await caller.closed_with() == 1000
    assert caller.count("playAudio") == 25
    record = await house.registry.get(CALL)
    assert (record.reason, record.detail) == ("poisonous", "killed w1, w2")
    assert (await route(other, url))[0] == 403, "it is over"
    await nothing_is_left(other)


async def test_a_later_start_of_the_only_worker_takes_it_once_more_and_no_further_one(house: Any) -> None:
    (worker,) = await fleet(house, 1)
    url = (await house.answer(CALL)).url
    async with house.connect(url) as carrier:
        caller = Caller(carrier)
        await carrier.send(START)
        await seated(house)
        for start in (1, 2):
            worker.started_at_ms = start
            await house.until(lambda worker=worker: worker.streams)
            await die(house, worker, call_id=CALL)
            house.workers.remove(worker)
            await worker.server.stop()
            worker = await house.start_worker("w1", started_at_ms=start + 1)
        assert await caller.closed_with() == 1000
    assert (await house.registry.get(CALL)).detail == "killed w1, w1"
    assert not worker.streams
    await nothing_is_left(house)


async def test_a_live_call_of_a_worker_of_the_version_before_is_placed_as_ever(house: Any) -> None:
    """It names no seat, and its parent writes no note."""
    first, _ = await house.start_worker("w1"), await house.start_worker("w2")
    async with house.connect((await house.answer(CALL)).url) as carrier:
        await carrier.send(START)
        await seated(house)
        began_at = time.monotonic()
        await kill(first)
        await seated(house, but="w1")
        assert time.monotonic() - began_at < 0.8
    await nothing_is_left(house)
