"""Slots, leases and workers, as every registry must keep them."""

import asyncio
from collections import Counter

from shared.calls.record import CallRecord
from shared.calls.state import CallState
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.registry import Registry
from tests.conftest import Clock

LEASE_MS = 5_000
HOLD_MS = 60_000


def worker(worker_id: str, capacity: int = 2, state: WorkerState = WorkerState.SERVING) -> WorkerRecord:
    return WorkerRecord(worker_id, f"127.0.0.1:{7000 + len(worker_id)}", state, capacity, "1.0", 17)


async def beat(registry: Registry, *workers: WorkerRecord, live: tuple[str, ...] = ()) -> None:
    for record in workers:
        await registry.heartbeat(record, live, LEASE_MS)


async def used(registry: Registry) -> dict[str, int]:
    return {view.record.worker_id: view.used for view in await registry.workers()}


async def test_a_worker_is_listed_as_it_described_itself(registry: Registry, clock: Clock) -> None:
    await beat(registry, worker("b"), worker("a", state=WorkerState.DRAINING))
    first, second = await registry.workers()
    assert (first.record, second.record) == (worker("a", state=WorkerState.DRAINING), worker("b"))
    assert first.lease_until_ms == clock() + LEASE_MS
    assert first.is_fresh(registry.now_ms())


async def test_a_silent_worker_is_listed_but_not_fresh(registry: Registry, clock: Clock) -> None:
    await beat(registry, worker("a"))
    clock.forward(LEASE_MS)
    (view,) = await registry.workers()
    assert not view.is_fresh(registry.now_ms())
    assert await registry.reserve("c", HOLD_MS) is None


async def test_no_worker_means_no_reservation(registry: Registry) -> None:
    assert await registry.reserve("c", HOLD_MS) is None


async def test_a_reservation_names_worker_address_and_end(registry: Registry, clock: Clock) -> None:
    await beat(registry, worker("a"))
    held = await registry.reserve("c", HOLD_MS)
    assert held is not None
    assert (held.call_id, held.worker_id, held.address) == ("c", "a", worker("a").address)
    assert held.expires_at_ms == clock() + HOLD_MS


async def test_reserving_again_gives_the_same_slot_with_its_end(registry: Registry, clock: Clock) -> None:
    await beat(registry, worker("a"), worker("b"))
    first = await registry.reserve("c", HOLD_MS)
    clock.forward(1_000)
    assert await registry.reserve("c", HOLD_MS) == first
    assert sum((await used(registry)).values()) == 1


async def test_a_draining_worker_keeps_its_reservations_and_gets_no_new_ones(registry: Registry) -> None:
    await beat(registry, worker("a"))
    first = await registry.reserve("c", HOLD_MS)
    await beat(registry, worker("a", state=WorkerState.DRAINING))
    assert await registry.reserve("c", HOLD_MS) == first
    assert await registry.reserve("d", HOLD_MS) is None


async def test_a_starting_worker_gets_nothing(registry: Registry) -> None:
    await beat(registry, worker("a", state=WorkerState.STARTING))
    assert await registry.reserve("c", HOLD_MS) is None


async def test_a_reservation_on_a_dead_worker_moves_to_a_living_one(registry: Registry, clock: Clock) -> None:
    await beat(registry, worker("a"))
    await registry.reserve("c", HOLD_MS)
    clock.forward(LEASE_MS)
    await beat(registry, worker("b"))
    held = await registry.reserve("c", HOLD_MS)
    assert held is not None
    assert held.worker_id == "b"
    assert await used(registry) == {"a": 0, "b": 1}


async def test_slots_are_given_out_to_capacity_and_not_beyond(registry: Registry) -> None:
    await beat(registry, worker("a", 2), worker("b", 1))
    held = [await registry.reserve(f"c{n}", HOLD_MS) for n in range(4)]
    assert [slot and slot.worker_id for slot in held] == ["a", "b", "a", None]


async def test_a_reservation_ends_by_itself(registry: Registry, clock: Clock) -> None:
    await beat(registry, worker("a", 1))
    await registry.reserve("c", LEASE_MS - 1)
    clock.forward(LEASE_MS - 1)
    assert await used(registry) == {"a": 0}
    assert await registry.lapsed_slots() == [("c", "a", clock())]
    assert await registry.reserve("d", HOLD_MS) is not None
    assert await registry.occupy("c", "a", LEASE_MS) is False


async def test_a_reservation_outlives_heartbeats_that_do_not_name_it(registry: Registry, clock: Clock) -> None:
    await beat(registry, worker("a"))
    await registry.reserve("c", HOLD_MS)
    for _ in range(HOLD_MS // LEASE_MS - 1):
        clock.forward(LEASE_MS)
        await beat(registry, worker("a"))
    assert await used(registry) == {"a": 1}
    clock.forward(LEASE_MS)
    assert await used(registry) == {"a": 0}


async def test_a_live_slot_is_renewed_by_naming_it_and_ends_when_it_is_not(registry: Registry, clock: Clock) -> None:
    await beat(registry, worker("a"))
    await registry.reserve("c", HOLD_MS)
    assert await registry.occupy("c", "a", LEASE_MS)
    for _ in range(3):
        clock.forward(LEASE_MS - 1)
        await beat(registry, worker("a"), live=("c",))
        assert await used(registry) == {"a": 1}
    clock.forward(LEASE_MS)
    await beat(registry, worker("a"))
    assert await used(registry) == {"a": 0}
    assert await registry.lapsed_slots() == [("c", "a", clock())]


async def test_a_stream_without_reservation_takes_a_free_slot(registry: Registry) -> None:
    await beat(registry, worker("a", 1))
    assert await registry.occupy("c", "a", LEASE_MS)
    assert await registry.occupy("c", "a", LEASE_MS)
    assert not await registry.occupy("d", "a", LEASE_MS)
    assert await used(registry) == {"a": 1}


async def test_a_stream_on_another_worker_gives_the_first_slot_back(registry: Registry) -> None:
    await beat(registry, worker("a", 1), worker("b", 1))
    await registry.reserve("c", HOLD_MS)
    assert await registry.occupy("c", "b", LEASE_MS)
    assert await used(registry) == {"a": 0, "b": 1}


async def test_a_refused_stream_keeps_the_slot_that_it_has_elsewhere(registry: Registry) -> None:
    await beat(registry, worker("a", 1), worker("b", 1))
    await registry.reserve("c", HOLD_MS)
    await registry.reserve("d", HOLD_MS)
    assert not await registry.occupy("c", "b", LEASE_MS)
    assert await used(registry) == {"a": 1, "b": 1}


async def test_a_worker_that_nobody_knows_has_no_slots(registry: Registry) -> None:
    assert not await registry.occupy("c", "ghost", LEASE_MS)


async def test_draining_workers_still_take_streams_that_were_promised(registry: Registry) -> None:
    await beat(registry, worker("a"))
    await registry.reserve("c", HOLD_MS)
    await beat(registry, worker("a", state=WorkerState.DRAINING))
    assert await registry.occupy("c", "a", LEASE_MS)


async def test_releasing_gives_the_slot_back_and_may_be_repeated(registry: Registry) -> None:
    await beat(registry, worker("a", 1))
    await registry.reserve("c", HOLD_MS)
    await registry.release("c")
    await registry.release("c")
    await registry.release("never heard of")
    assert await used(registry) == {"a": 0}
    assert await registry.lapsed_slots() == []
    assert await registry.reserve("d", HOLD_MS) is not None


async def test_a_dead_workers_slots_are_lapsed_reservations_too(registry: Registry, clock: Clock) -> None:
    await beat(registry, worker("a", 3), worker("b", 1))
    await registry.occupy("live", "a", LEASE_MS)
    await registry.occupy("other", "b", LEASE_MS)
    await registry.reserve("reserved", HOLD_MS)
    clock.forward(LEASE_MS + 1)
    await beat(registry, worker("b", 1), live=("other",))
    assert await registry.lapsed_slots() == [("live", "a", clock() - 1), ("reserved", "a", clock() - 1)]


async def test_a_removed_worker_takes_its_slots_along(registry: Registry) -> None:
    await beat(registry, worker("a"), worker("b"))
    await registry.occupy("c", "a", LEASE_MS)
    await registry.remove_worker("a")
    await registry.remove_worker("a")
    assert await used(registry) == {"b": 0}
    assert await registry.lapsed_slots() == []
    held = await registry.reserve("c", HOLD_MS)
    assert held is not None
    assert held.worker_id == "b"


async def test_a_heartbeat_makes_slots_that_the_registry_has_lost(registry: Registry) -> None:
    """Redis was restarted empty: workers say again who they are and which calls they hold."""
    await beat(registry, worker("a", 2), live=("c", "d"))
    assert await used(registry) == {"a": 2}
    assert await registry.reserve("e", HOLD_MS) is None


async def test_a_heartbeat_does_not_take_a_call_that_lives_elsewhere_by_now(registry: Registry, clock: Clock) -> None:
    """A worker slept, its call was taken over by another, and then it woke up and still named the call."""
    await beat(registry, worker("slept"), worker("took over"))
    await registry.occupy("c", "took over", LEASE_MS)
    await beat(registry, worker("slept"), live=("c",))
    assert await used(registry) == {"slept": 0, "took over": 1}
    clock.forward(LEASE_MS)
    await beat(registry, worker("slept"), live=("c",))
    assert await used(registry) == {"slept": 1, "took over": 0}
    assert await registry.lapsed_slots() == []


async def test_slots_that_nobody_reaps_are_forgotten_after_a_day(registry: Registry, clock: Clock) -> None:
    await beat(registry, worker("a"))
    await registry.reserve("c", HOLD_MS)
    clock.forward(HOLD_MS + 24 * 3600 * 1000)
    await beat(registry, worker("a"))
    assert await registry.lapsed_slots() == []


async def test_a_call_whose_worker_was_lost_gets_a_slot_elsewhere_at_once(registry: Registry) -> None:
    """A worker was killed; its lease holds for seconds yet."""
    await beat(registry, worker("killed", 1), worker("other", 2))
    await registry.occupy("c", "killed", LEASE_MS)
    held = await registry.reserve("c", HOLD_MS, {"killed"})
    assert held is not None
    assert held.worker_id == "other"
    assert await registry.reserve("c", HOLD_MS, ["killed"]) == await registry.reserve("c", HOLD_MS) == held
    assert await used(registry) == {"killed": 0, "other": 1}


async def test_a_call_keeps_its_slot_when_all_others_are_full_or_to_be_avoided(registry: Registry) -> None:
    await beat(registry, worker("a", 2), worker("b", 1), worker("c", 1))
    await registry.occupy("mine", "a", LEASE_MS)
    await registry.occupy("theirs", "b", LEASE_MS)
    assert await registry.reserve("mine", HOLD_MS, {"a", "c"}) is None
    assert await registry.reserve("new", HOLD_MS, {"a", "c"}) is None
    assert await used(registry) == {"a": 1, "b": 1, "c": 0}
    held = await registry.reserve("mine", HOLD_MS)
    assert held is not None
    assert held.worker_id == "a"


async def test_a_burst_never_admits_more_than_fits(registry: Registry) -> None:
    capacities = {"a": 7, "b": 20, "c": 13}
    await beat(registry, *(worker(worker_id, capacity) for worker_id, capacity in capacities.items()))
    held = await asyncio.gather(*(registry.reserve(f"call-{n}", HOLD_MS) for n in range(500)))
    assert Counter(slot.worker_id for slot in held if slot) == Counter(capacities)
    assert await used(registry) == capacities


async def test_a_burst_of_duplicates_takes_one_slot_per_call(registry: Registry) -> None:
    await beat(registry, worker("a", 50), worker("b", 50))
    held = await asyncio.gather(*(registry.reserve(f"call-{n % 20}", HOLD_MS) for n in range(200)))
    assert sum((await used(registry)).values()) == 20
    assert len({(slot.call_id, slot.worker_id) for slot in held if slot}) == 20


async def test_a_number_gets_no_more_slots_than_its_ceiling_and_leaves_the_rest_to_others(registry: Registry) -> None:
    await beat(registry, worker("w", capacity=10))
    flood = [await registry.reserve(f"flood-{n}", HOLD_MS, number="+91", ceiling=3) for n in range(8)]
    assert sum(held is not None for held in flood) == 3
    assert await registry.reserve("flood-0", HOLD_MS, number="+91", ceiling=3) == flood[0], (
        "asked again, it is the same"
    )
    assert await registry.reserve("other", HOLD_MS, number="+92", ceiling=3)
    assert await registry.reserve("any", HOLD_MS)


async def test_slots_that_are_given_back_or_end_count_no_more_for_their_number(
    registry: Registry, clock: Clock
) -> None:
    await beat(registry, worker("w", capacity=10))
    for call_id in ("a", "b"):
        assert await registry.reserve(call_id, HOLD_MS, number="+91", ceiling=2)
    assert await registry.reserve("c", HOLD_MS, number="+91", ceiling=2) is None
    await registry.release("a")
    assert await registry.reserve("c", HOLD_MS, number="+91", ceiling=2)
    clock.at_ms += HOLD_MS
    await beat(registry, worker("w", capacity=10), live=("b",))
    assert await registry.reserve("d", HOLD_MS, number="+91", ceiling=2), "c never came"
    assert await registry.reserve("e", HOLD_MS, number="+91", ceiling=2) is None, "b lives, and counts"


async def test_a_burst_never_passes_a_ceiling(registry: Registry) -> None:
    await beat(registry, worker("w", capacity=100))
    asked = (registry.reserve(f"c{n}", HOLD_MS, number="+91", ceiling=7) for n in range(100))
    assert sum(held is not None for held in await asyncio.gather(*asked)) == 7


async def test_calls_that_are_counted_for_a_number_leave_less_room_below_its_ceiling_while_they_hold_slots(
    registry: Registry,
) -> None:
    """After a start without data, or a time without a registry: workers and gateways tell whose calls live."""
    await beat(registry, worker("w", capacity=10), live=("a", "b", "another's"))
    for call_id in ("a", "b", "gone"):
        await registry.count_for("+91", call_id)
    await registry.count_for("+91", "a")
    assert await registry.reserve("c", HOLD_MS, number="+91", ceiling=3)
    assert await registry.reserve("d", HOLD_MS, number="+91", ceiling=3) is None
    await registry.release("a")
    assert await registry.reserve("d", HOLD_MS, number="+91", ceiling=3)


async def test_so_do_living_calls_that_were_lost_and_are_written_down_again(registry: Registry) -> None:
    await beat(registry, worker("w", capacity=10), live=("in", "out"))
    await registry.restore(CallRecord("in", CallState.ACTIVE, direction="INBOUND", to_number="+91", from_number="+1"))
    await registry.restore(CallRecord("out", CallState.ACTIVE, direction="OUTBOUND", to_number="+1", from_number="+91"))
    assert await registry.reserve("c", HOLD_MS, number="+91", ceiling=2) is None
    assert await registry.reserve("c", HOLD_MS, number="+91", ceiling=3)
