"""Calls, their moves, timelines and endings, as every registry must keep them."""

import asyncio

import pytest

from shared.calls.outcome import Reason
from shared.calls.record import SCHEMA
from shared.calls.state import MOVES, CallEvent, CallState
from shared.calls.timeline import TimelineEvent
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.registry import Registry, RegistryAway, TimelineEntry
from shared.registry.endings import end_call
from tests.conftest import Clock

WAY_TO: dict[CallState, list[CallEvent]] = {
    CallState.NONE: [],
    CallState.RINGING: [CallEvent.RING],
    CallState.RESERVED: [CallEvent.ANSWER],
    CallState.ACTIVE: [CallEvent.ANSWER, CallEvent.ATTACH],
    CallState.DETACHED: [CallEvent.ANSWER, CallEvent.ATTACH, CallEvent.DETACH],
    CallState.ENDED: [CallEvent.END],
}


async def bring(registry: Registry, call_id: str, state: CallState) -> None:
    for event in WAY_TO[state]:
        assert (await registry.move(call_id, event, {})).moved


@pytest.mark.parametrize("event", list(CallEvent))
@pytest.mark.parametrize("state", list(CallState))
async def test_every_event_moves_as_the_table_says(registry: Registry, state: CallState, event: CallEvent) -> None:
    await bring(registry, "c", state)
    before = await registry.get("c")
    moved = await registry.move("c", event, {"detail": "changed"})
    after = MOVES[event].get(state)
    assert moved.before is state
    assert moved.moved is (after is not None)
    assert moved.record == await registry.get("c")
    if after is None:
        assert moved.record == before
    else:
        assert moved.record is not None
        assert (moved.record.state, moved.record.detail) == (after, "changed")


async def test_a_record_keeps_every_field_as_it_was_given(registry: Registry, clock: Clock) -> None:
    changes = {
        "direction": "INBOUND",
        "from_number": "+919812345678",
        "to_number": "+918000000001",
        "request_uuid": "r",
        "answered_at_ms": clock(),
        "bot": "bots:a",
        "codec": "L16",
        "sample_rate": 16000,
        "worker_id": "w",
        "stream_id": "s",
        "carrier_call_id": "x",
        "detail": 'quotes ", newlines \n, the half of a character \ud83d and ünïcode',
        "carrier_status": "COMPLETED",
        "carrier_duration_s": 12.3456789,
        "hangup_cause": "NORMAL",
        "closed_at_ms": 5,
        "figures": {"answer_ms": 0.1, "turns": 3},
    }
    moved = await registry.move("c", CallEvent.ANSWER, changes)
    assert moved.record is not None
    for name, value in changes.items():
        assert getattr(moved.record, name) == value
    assert moved.record.call_id == "c"
    assert moved.record.schema == SCHEMA
    assert moved.record.created_at_ms == clock()
    assert await registry.get("c") == moved.record


async def test_the_trace_of_a_call_is_the_one_that_was_first(registry: Registry) -> None:
    await registry.move("c", CallEvent.RING, {})
    await registry.move("c", CallEvent.RING, {"traceparent": "the first"})
    moved = await registry.move("c", CallEvent.ANSWER, {"traceparent": "a later one", "worker_id": "w"})
    assert moved.record is not None
    assert (moved.record.traceparent, moved.record.worker_id) == ("the first", "w")


async def test_an_unknown_call_has_no_record(registry: Registry) -> None:
    assert await registry.get("c") is None
    moved = await registry.move("c", CallEvent.ATTACH, {})
    assert (moved.moved, moved.before, moved.record) == (False, CallState.NONE, None)
    await registry.patch("c", {"detail": "nobody"})
    assert await registry.get("c") is None


@pytest.mark.parametrize("name", ["no_such_field", "state", "call_id", "schema"])
async def test_what_is_not_a_callers_to_change_is_a_programming_error(registry: Registry, name: str) -> None:
    with pytest.raises(TypeError, match=name):
        await registry.move("c", CallEvent.ANSWER, {name: "x"})
    with pytest.raises(TypeError, match=name):
        await registry.patch("c", {name: "x"})
    assert await registry.get("c") is None


async def test_figures_are_merged_by_moves_and_by_patches(registry: Registry) -> None:
    await registry.move("c", CallEvent.ANSWER, {"figures": {"answer_ms": 1, "turns": 1}})
    await registry.move("c", CallEvent.ATTACH, {"figures": {"attach_ms": 2.5}})
    await registry.patch("c", {"figures": {"turns": 2}, "detail": "patched"})
    record = await registry.get("c")
    assert record is not None
    assert record.figures == {"answer_ms": 1, "attach_ms": 2.5, "turns": 2}
    assert (record.detail, record.state) == ("patched", CallState.ACTIVE)


async def test_each_attachment_is_an_epoch_above_the_last(registry: Registry, clock: Clock) -> None:
    await bring(registry, "c", CallState.ACTIVE)
    first = await registry.get("c")
    assert first is not None
    assert (first.epoch, first.attachments, first.first_attached_at_ms) == (clock(), 1, clock())
    second = (await registry.move("c", CallEvent.ATTACH, {})).record
    assert second is not None
    assert (second.epoch, second.attachments) == (first.epoch + 1, 2)
    clock.forward(-300_000)  # a gateway whose clock is five minutes slow
    third = (await registry.move("c", CallEvent.ATTACH, {})).record
    assert third is not None
    assert third.epoch == first.epoch + 2
    clock.forward(600_000)
    fourth = (await registry.move("c", CallEvent.ATTACH, {})).record
    assert fourth is not None
    assert (fourth.epoch, fourth.attachments) == (clock(), 4)
    assert fourth.first_attached_at_ms == first.first_attached_at_ms


async def test_an_old_epoch_changes_nothing(registry: Registry) -> None:
    await bring(registry, "c", CallState.ACTIVE)
    record = (await registry.move("c", CallEvent.ATTACH, {})).record
    assert record is not None
    late = await registry.move("c", CallEvent.DETACH, {"detail": "late"}, fence=record.epoch - 1)
    assert (late.moved, late.before, late.record) == (False, CallState.ACTIVE, record)
    assert (await registry.move("c", CallEvent.DETACH, {}, fence=record.epoch)).moved


async def test_a_call_that_never_attached_has_epoch_0(registry: Registry) -> None:
    await bring(registry, "c", CallState.RESERVED)
    assert not (await registry.move("c", CallEvent.END, {}, fence=7)).moved
    assert (await registry.move("c", CallEvent.END, {}, fence=0)).moved


async def test_times_of_a_life_are_set_once(registry: Registry, clock: Clock) -> None:
    born = clock()
    await bring(registry, "c", CallState.DETACHED)
    clock.forward(10)
    await registry.move("c", CallEvent.END, {"reason": str(Reason.IDLE)})
    died = clock()
    clock.forward(10)
    record = (await registry.move("c", CallEvent.CARRIER_ENDED, {"carrier_status": "COMPLETED"})).record
    assert record is not None
    assert (record.created_at_ms, record.first_attached_at_ms, record.ended_at_ms) == (born, born, died)


async def test_the_first_ending_wins_whoever_comes_at_once(registry: Registry) -> None:
    await bring(registry, "c", CallState.ACTIVE)
    reasons = [Reason.CALLER_HUNG_UP, Reason.BOT_ENDED, Reason.STREAM_CLOSED, Reason.IDLE]
    endings = await asyncio.gather(*(end_call(registry, "c", reason) for reason in reasons * 5))
    (winner,) = [ending for ending in endings if ending.moved]
    record = await registry.get("c")
    assert winner.record == record
    assert record is not None
    assert record.is_over
    assert await registry.outbox() == ["c"]


async def test_ending_gives_the_slot_back_and_enqueues_once(registry: Registry) -> None:
    await registry.heartbeat(WorkerRecord("w", "127.0.0.1:1", WorkerState.SERVING, 1), [], 5_000)
    await registry.reserve("c", 60_000)
    await bring(registry, "c", CallState.RESERVED)
    await end_call(registry, "c", Reason.NEVER_ATTACHED)
    await end_call(registry, "c", Reason.IDLE)
    (view,) = await registry.workers()
    assert view.used == 0
    assert await registry.outbox() == ["c"]
    await registry.outbox_done(["c", "never heard of"])
    assert await registry.outbox() == []


async def test_a_record_is_closed_once_whoever_comes_at_once(registry: Registry, clock: Clock) -> None:
    """After a pause, rounds of housekeeping ran beside each other: 4,000 calls were closed 7,704 times."""
    await bring(registry, "c", CallState.ACTIVE)
    assert await registry.close_record("c") is None, "it lives"
    assert await registry.close_record("never heard of") is None
    await end_call(registry, "c", Reason.IDLE)
    clock.forward(7)
    closings = await asyncio.gather(*(registry.close_record("c") for _ in range(10)))
    (closed,) = [record for record in closings if record]
    assert closed == await registry.get("c")
    assert closed.closed_at_ms == clock()
    clock.forward(7)
    assert await registry.close_record("c") is None


async def test_the_outbox_is_read_oldest_first_and_as_far_as_asked(registry: Registry, clock: Clock) -> None:
    for call_id in ("z", "a", "m"):
        await registry.enqueue_ending(call_id)
        clock.forward(1)
    await registry.enqueue_ending("z")
    assert await registry.outbox() == ["z", "a", "m"]
    assert await registry.outbox(limit=2) == ["z", "a"]
    assert await registry.outbox(limit=0) == []


async def test_recent_calls_are_the_newest_first(registry: Registry, clock: Clock) -> None:
    for n in range(5):
        await bring(registry, f"c{n}", CallState.RESERVED)
        clock.forward(1)
    await registry.move("c0", CallEvent.ATTACH, {})
    assert [record.call_id for record in await registry.recent_calls(3)] == ["c4", "c3", "c2"]
    assert [record.call_id for record in await registry.recent_calls()] == ["c4", "c3", "c2", "c1", "c0"]
    assert await registry.recent_calls(0) == []


async def test_recent_calls_of_the_time_before(registry: Registry, clock: Clock) -> None:
    for n in range(5):
        await registry.move(f"c{n}", CallEvent.RING, {})
        clock.forward(1_000)
    before_ms = clock() - 2_000  # c3 was created just then
    assert [record.call_id for record in await registry.recent_calls(2, before_ms)] == ["c2", "c1"]
    assert [record.call_id for record in await registry.recent_calls(before_ms=before_ms)] == ["c2", "c1", "c0"]
    assert await registry.recent_calls(0, before_ms) == []


async def test_retention_drops_old_ended_calls_and_no_others(registry: Registry, clock: Clock) -> None:
    entry = TimelineEntry(clock(), "gateway:g", "webhook", {})
    for call_id, state in [("live", CallState.ACTIVE), ("old", CallState.ENDED), ("older", CallState.ENDED)]:
        await bring(registry, call_id, state)
        await registry.note(call_id, [entry])
    await registry.enqueue_ending("enqueued, no record")
    clock.forward(1)
    await bring(registry, "new", CallState.ENDED)
    assert await registry.forget_before(clock()) == 2
    assert await registry.forget_before(clock()) == 0
    assert await registry.get("old") is None
    assert await registry.timeline("old") == []
    assert len(await registry.timeline("live")) == 1
    assert {record.call_id for record in await registry.recent_calls()} == {"live", "new"}


async def test_retention_reaches_beyond_a_page_of_calls_that_stay(registry: Registry, clock: Clock) -> None:
    for n in range(520):
        await registry.move(f"{n:04}", CallEvent.RING if n % 2 else CallEvent.END, {})
    clock.forward(1)
    assert await registry.forget_before(clock()) == 260
    assert len(await registry.recent_calls(1000)) == 260


async def test_a_timeline_is_read_from_any_entry_on(registry: Registry) -> None:
    entries = [TimelineEntry(n, "worker:w", "digit", {"n": n, "nested": {"a": [1, None]}}) for n in range(3)]
    await registry.note("c", entries[:2])
    await registry.note("c", entries[2:])
    await registry.note("c", [])
    assert await registry.timeline("c") == entries
    assert await registry.timeline("c", after=2) == entries[2:]
    assert await registry.timeline("c", after=3) == []
    assert await registry.timeline("nobody") == []


async def test_a_timeline_keeps_the_newest_1000_and_their_numbers(registry: Registry) -> None:
    entries = [TimelineEntry(n, "worker:w", "digit", {}) for n in range(1_500)]
    for start in range(0, 1_500, 300):
        await registry.note("c", entries[start : start + 300])
    assert await registry.timeline("c") == entries[500:]
    assert await registry.timeline("c", after=100) == entries[500:]
    assert await registry.timeline("c", after=1_490) == entries[1_490:]


async def test_a_nudge_reaches_who_listens_to_its_topic_and_nobody_else(registry: Registry) -> None:
    heard: list[str] = []

    async def listen(topic: str) -> None:
        async for message in registry.nudges(topic):
            heard.append(f"{topic}: {message}")

    listeners = [asyncio.create_task(listen(topic)) for topic in ("a", "b")]
    async with asyncio.timeout(5):
        while len(heard) < 2:  # until both have subscribed
            await registry.nudge("a", '{"call_id": "c"}')
            await registry.nudge("b", "x")
            await asyncio.sleep(0.01)
    assert set(heard) == {'a: {"call_id": "c"}', "b: x"}
    await registry.close()
    for listener in listeners:
        with pytest.raises(RegistryAway):
            await listener


async def test_a_listener_that_stops_leaves_nothing_behind(registry: Registry) -> None:
    async def listen() -> None:
        async for _ in registry.nudges("a"):
            pass

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0.02)
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener
    await registry.nudge("a", "nobody hears")


async def test_entries_and_figures_of_many_calls_are_written_down_at_once(registry: Registry, clock: Clock) -> None:
    calls = [f"c{number}" for number in range(250)]
    for call_id in calls[:2]:
        await registry.move(call_id, CallEvent.ANSWER, {})
    entry = TimelineEntry(clock(), "gateway:a", TimelineEvent.WEBHOOK, {"webhook": "answer"})
    await registry.write_down(
        {call_id: [entry] for call_id in calls}, {call_id: {"answer_ms": 1.5} for call_id in calls}
    )
    assert await registry.timeline("c0") == await registry.timeline("c249") == [entry]
    known, unknown = await registry.get("c1"), await registry.get("c2")
    assert known is not None
    assert known.figures == {"answer_ms": 1.5}
    assert unknown is None


async def test_many_records_are_had_in_the_order_they_were_asked_for(registry: Registry) -> None:
    names = [f"c{number}" for number in range(40)]
    for name in names[::2]:
        await bring(registry, name, CallState.ACTIVE)
    found = await registry.get_many(names)
    assert found == [await registry.get(name) for name in names]
    assert [record is None for record in found] == [number % 2 == 1 for number in range(40)]
    assert await registry.get_many([]) == []
