"""A call that may have killed its worker is seated last, and never beside another such call."""

import pytest

from shared.fleet.selector import PROBATION_MS
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.registry import Registry
from tests.conftest import Clock

LEASE_MS, HOLD_MS = 60_000, 30_000


async def fleet(registry: Registry, workers: int, capacity: int = 4, start: int = 1) -> None:
    for number in range(1, workers + 1):
        record = WorkerRecord(f"w{number}", "127.0.0.1:1", WorkerState.SERVING, capacity, started_at_ms=start)
        await registry.heartbeat(record, [], LEASE_MS)


async def seat(registry: Registry, call_id: str, **how: bool) -> str:
    """The worker that the call gets, or nothing."""
    held = await registry.reserve(call_id, HOLD_MS, **how)
    return held.worker_id if held else ""


async def suspect(registry: Registry, call_id: str) -> str:
    held = await registry.reserve(call_id, HOLD_MS, is_live=True, is_suspect=True)
    return held.worker_id if held else ""


async def test_two_suspects_never_sit_on_one_worker_and_take_half_of_the_fleet_at_most(
    registry: Registry, clock: Clock
) -> None:
    await fleet(registry, 4)
    seats = [await suspect(registry, f"s{number}") for number in range(3)]
    assert seats == ["w1", "w2", ""]
    clock.forward(PROBATION_MS)
    assert await suspect(registry, "s2") == "w3"


@pytest.mark.parametrize("workers", [1, 2, 3])
async def test_a_small_fleet_takes_one_at_a_time(registry: Registry, clock: Clock, workers: int) -> None:
    await fleet(registry, workers)
    assert await suspect(registry, "s1")
    assert await suspect(registry, "s2") == ""
    clock.forward(PROBATION_MS - 1)
    assert await suspect(registry, "s2") == ""
    clock.forward(1)
    assert await suspect(registry, "s2")


async def test_it_gets_the_same_worker_again_when_it_asks_twice(registry: Registry) -> None:
    await fleet(registry, 2)
    first = await suspect(registry, "s1")
    assert await suspect(registry, "s1") == first
    assert sum(view.used for view in await registry.workers()) == 1


async def test_the_slot_that_it_had_on_the_worker_that_died_does_not_seat_it_again(registry: Registry) -> None:
    """Two suspects of one worker, which is back: each has a slot there that has not ended."""
    await fleet(registry, 1)
    assert await seat(registry, "s1") == await seat(registry, "s2") == "w1"
    await fleet(registry, 1, start=2)
    assert await suspect(registry, "s1") == "w1"
    assert await suspect(registry, "s2") == ""


async def test_other_calls_keep_away_while_there_is_another_worker(registry: Registry, clock: Clock) -> None:
    await fleet(registry, 2)
    assert await suspect(registry, "s1") == "w1"
    assert [await seat(registry, f"new{number}") for number in range(4)] == ["w2"] * 4
    assert await seat(registry, "passenger", is_live=True) == "w1", "there is no other one"
    clock.forward(PROBATION_MS)
    await registry.release("new0")
    await registry.release("passenger")
    assert await seat(registry, "later") == "w1"


async def test_a_suspect_that_goes_on_to_the_next_worker_frees_the_first_for_others(registry: Registry) -> None:
    await fleet(registry, 3)
    assert await suspect(registry, "s1") == "w1"
    held = await registry.reserve("s1", HOLD_MS, {"w1"}, is_live=True, is_suspect=True)
    assert held
    assert held.worker_id == "w2"
    assert await seat(registry, "new") == "w1"


async def test_a_worker_that_serves_no_more_keeps_no_suspect_waiting(registry: Registry) -> None:
    await fleet(registry, 1)
    assert await suspect(registry, "s1") == "w1"
    await registry.heartbeat(WorkerRecord("w1", "127.0.0.1:1", WorkerState.DRAINING, 4), [], LEASE_MS)
    await registry.heartbeat(WorkerRecord("w2", "127.0.0.1:2", WorkerState.SERVING, 4), [], LEASE_MS)
    assert await suspect(registry, "s2") == "w2"
