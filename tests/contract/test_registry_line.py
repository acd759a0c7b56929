"""The line of callers who wait for a slot, as every registry must keep it."""

import asyncio

from shared.calls.outcome import Reason
from shared.registry import Place, Registry
from shared.registry.contract import LINE_KEPT_MS, LINE_TOPIC
from shared.registry.endings import end_call
from tests.conftest import Clock
from tests.contract.test_registry_slots import HOLD_MS, LEASE_MS, beat, used, worker


async def waiting(registry: Registry) -> list[str]:
    return [place.call_id for place in await registry.keep_line([], 0)]


async def placed(registry: Registry, call_id: str, number: str = "", ceiling: int = 0) -> bool:
    held = await registry.reserve(call_id, HOLD_MS, number=number, ceiling=ceiling, in_turn=True)
    return held is not None


async def full_with_line(registry: Registry, clock: Clock, *call_ids: str) -> None:
    """One worker with two slots, both taken, and these who wait, a millisecond apart."""
    await beat(registry, worker("a", 2))
    assert await placed(registry, "x")
    assert await placed(registry, "y")
    for call_id in call_ids:
        clock.forward(1)
        await registry.join_line(call_id, clock(), LEASE_MS)


async def test_who_comes_first_stands_first_and_among_equals_the_lower_id(registry: Registry, clock: Clock) -> None:
    for call_id, ago_ms in (("b", 0), ("Z", 0), ("early", 5), ("a", 0)):
        await registry.join_line(call_id, clock() - ago_ms, LEASE_MS)
    assert await registry.keep_line([], 0) == [
        Place("early", clock() - 5),
        *(Place(call_id, clock()) for call_id in ("Z", "a", "b")),
    ]


async def test_a_place_that_is_not_renewed_lapses_and_keeps_nobody_waiting(registry: Registry, clock: Clock) -> None:
    await full_with_line(registry, clock, "first", "second")
    clock.forward(LEASE_MS - 1)
    await registry.keep_line(["second", "nobody"], LEASE_MS)
    assert await waiting(registry) == ["second"], "and who has no place gets none by renewing it"
    await beat(registry, worker("a", 2), live=("y",))
    await registry.release("x")
    assert await placed(registry, "second")


async def test_who_comes_back_to_a_lapsed_place_is_where_he_was(registry: Registry, clock: Clock) -> None:
    """A gateway died; the carrier brings the stream to another one."""
    await full_with_line(registry, clock, "first", "second")
    since_ms = clock() - 1
    clock.forward(LEASE_MS + 1)
    assert await waiting(registry) == []
    await registry.join_line("second", clock(), LEASE_MS)
    await registry.join_line("first", clock(), LEASE_MS)
    assert await registry.keep_line([], 0) == [Place("first", since_ms), Place("second", since_ms + 1)]


async def test_a_place_can_be_let_go_at_once_and_taken_up_again(registry: Registry, clock: Clock) -> None:
    await full_with_line(registry, clock, "first", "second")
    assert [place.call_id for place in await registry.keep_line(["first"], 0)] == ["second"]
    assert [place.call_id for place in await registry.keep_line(["first"], LEASE_MS)] == ["first", "second"]


async def test_places_that_nobody_came_back_to_are_forgotten(registry: Registry, clock: Clock) -> None:
    await registry.join_line("c", clock(), LEASE_MS)
    clock.forward(LEASE_MS + LINE_KEPT_MS)
    assert await waiting(registry) == []
    await registry.join_line("d", clock(), LEASE_MS)
    await registry.join_line("c", clock() + 1, LEASE_MS)
    assert await waiting(registry) == ["d", "c"]


async def test_a_new_call_does_not_overtake_those_who_wait(registry: Registry, clock: Clock) -> None:
    await full_with_line(registry, clock, "first", "second")
    await registry.release("x")
    assert not await placed(registry, "new")
    assert not await placed(registry, "second")
    assert await placed(registry, "first")
    assert await waiting(registry) == ["second"], "who has a slot is out of the line"
    await registry.release("y")
    assert not await placed(registry, "new")
    assert await placed(registry, "second")
    assert await used(registry) == {"a": 2}


async def test_with_room_for_all_who_wait_and_one_more_a_new_call_is_placed_before_they_ask(
    registry: Registry, clock: Clock
) -> None:
    await full_with_line(registry, clock, "first", "second")
    await beat(registry, worker("b", 3))
    assert await placed(registry, "second"), "the first one's slot is still there"
    assert await placed(registry, "new")
    assert not await placed(registry, "newer")
    assert await placed(registry, "first")


async def test_a_live_call_whose_worker_was_lost_waits_behind_nobody(registry: Registry, clock: Clock) -> None:
    await full_with_line(registry, clock, "first")
    await beat(registry, worker("b", 1))
    held = await registry.reserve("x", HOLD_MS, {"a"})
    assert held is not None
    assert held.worker_id == "b"


async def test_a_slot_that_is_held_already_is_given_again_whoever_waits(registry: Registry, clock: Clock) -> None:
    await full_with_line(registry, clock, "first")
    assert await placed(registry, "x")


async def test_a_number_at_its_ceiling_keeps_callers_of_other_numbers_not_waiting(
    registry: Registry, clock: Clock
) -> None:
    await beat(registry, worker("a", 3))
    assert await placed(registry, "live", "+91", 1)
    await registry.join_line("blocked", clock(), LEASE_MS, number="+91", ceiling=1)
    await registry.join_line("other", clock() + 1, LEASE_MS, number="+92", ceiling=1)
    assert not await placed(registry, "blocked", "+91", 1)
    assert await placed(registry, "other", "+92", 1)
    assert await placed(registry, "new")
    await registry.release("live")
    assert not await placed(registry, "one more", "+91", 1), "the blocked one is next"
    assert await placed(registry, "blocked", "+91", 1)


async def test_of_a_numbers_callers_only_as_many_as_its_ceiling_lets_in_keep_others_waiting(
    registry: Registry, clock: Clock
) -> None:
    await beat(registry, worker("a", 2))
    for n in range(5):
        await registry.join_line(f"flood-{n}", clock() + n, LEASE_MS, number="+91", ceiling=1)
    assert await placed(registry, "new")
    assert not await placed(registry, "newer")
    assert not await placed(registry, "flood-1", "+91", 1)
    assert await placed(registry, "flood-0", "+91", 1)


async def test_a_call_that_ends_leaves_the_line(registry: Registry, clock: Clock) -> None:
    await full_with_line(registry, clock, "first", "second")
    await end_call(registry, "first", Reason.CALLER_HUNG_UP)
    assert await waiting(registry) == ["second"]
    await registry.join_line("first", clock() + 5, LEASE_MS)
    assert await waiting(registry) == ["second", "first"], "its old place is forgotten"


async def test_a_burst_from_the_line_is_served_in_its_order(registry: Registry, clock: Clock) -> None:
    await full_with_line(registry, clock, *(f"c{n}" for n in range(20)))
    await beat(registry, worker("b", 7))
    asked = [f"c{n}" for n in reversed(range(20))] + [f"new-{n}" for n in range(20)]
    held = await asyncio.gather(*(placed(registry, call_id) for call_id in asked))
    assert {call_id for call_id, is_placed in zip(asked, held, strict=True) if is_placed} == {f"c{n}" for n in range(7)}


async def test_a_slot_that_is_given_back_nudges_whoever_waits_for_one(registry: Registry, clock: Clock) -> None:
    heard: list[str] = []

    async def listen() -> None:
        async for message in registry.nudges(LINE_TOPIC):
            heard.append(message)

    async def nudges(at_least: int) -> None:
        async with asyncio.timeout(5):
            while len(heard) < at_least:
                await asyncio.sleep(0.005)

    listening = asyncio.create_task(listen())
    await beat(registry, worker("a", 3))
    try:
        async with asyncio.timeout(5):
            while not heard:  # until the listener is there
                await registry.nudge(LINE_TOPIC, "")
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        heard.clear()
        assert await placed(registry, "x")
        await registry.release("x")
        await full_with_line(registry, clock, "first")
        await registry.release("nobody")
        await end_call(registry, "y", Reason.CALLER_HUNG_UP)
        await nudges(1)
        await registry.release("x")
        await nudges(2)
        await registry.nudge(LINE_TOPIC, "last")
        await nudges(3)
        assert heard == ["", "", "last"], "nobody is nudged for nothing"
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
