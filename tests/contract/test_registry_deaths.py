"""Which start of which worker a call sits in, the seats that it left, how workers died, and calls that were lost."""

from dataclasses import replace

from shared.calls.record import CallRecord
from shared.calls.state import CallEvent, CallState
from shared.fleet.death import DeathCause, DeathNote, decode_note, encode_note
from shared.registry import Registry
from shared.registry.contract import MOST_DEATHS
from shared.registry.keys import DEATH_TTL_MS
from tests.conftest import Clock

NOTE = DeathNote("a@b", 17, 1_800_000_000_000, DeathCause.FROZEN, "c", "bots:slow", "silent for 3 s")


async def attach(registry: Registry, worker_id: str, started_at_ms: int = 1, **changes: object) -> CallRecord:
    """The call's record once a worker of this version has its stream."""
    there = {"worker_id": worker_id, "seat": f"{worker_id}@{started_at_ms}", **changes}
    moved = await registry.move("c", CallEvent.ATTACH, there)
    assert moved.record
    return moved.record


async def attach_at_a_worker_that_writes_no_seat(registry: Registry, worker_id: str) -> CallRecord:
    moved = await registry.move("c", CallEvent.ATTACH, {"worker_id": worker_id})
    assert moved.record
    return moved.record


async def test_a_first_session_has_a_seat_and_a_time_and_left_none(registry: Registry, clock: Clock) -> None:
    await registry.move("c", CallEvent.ANSWER, {"worker_id": "w1"})
    record = await attach(registry, "w1")
    assert (record.seat, record.seated_at_ms, record.deaths) == ("w1@1", clock(), "")
    assert record.is_seated


async def test_a_stream_that_returns_to_its_session_changes_no_seat(registry: Registry, clock: Clock) -> None:
    await registry.move("c", CallEvent.ANSWER, {"worker_id": "w1"})
    first = await attach(registry, "w1")
    clock.forward(4_000)
    again = await attach(registry, "w1")
    assert (again.seat, again.seated_at_ms, again.deaths) == ("w1@1", first.seated_at_ms, "")


async def test_a_seat_that_was_left_is_kept(registry: Registry, clock: Clock) -> None:
    await registry.move("c", CallEvent.ANSWER, {"worker_id": "w1"})
    first = await attach(registry, "w1")
    clock.forward(4_000)
    second = await attach(registry, "w2", 9)
    assert second.deaths == f"w1@1/{first.seated_at_ms}/{clock()}"
    assert (second.seat, second.seated_at_ms) == ("w2@9", clock())
    clock.forward(500)
    third = await attach(registry, "w2", 10)  # a later start of the same worker
    assert third.deaths == f"{second.deaths} w2@9/{second.seated_at_ms}/{clock()}"


async def test_a_call_that_is_handed_over_sits_nowhere_until_it_is_attached(registry: Registry) -> None:
    """Its old seat is kept as all are: the note of how that worker ended is what counts."""
    await registry.move("c", CallEvent.ANSWER, {"worker_id": "w1"})
    await attach(registry, "w1")
    handed = await registry.move("c", CallEvent.DETACH, {"worker_id": "w2"})
    assert handed.record
    assert not handed.record.is_seated
    record = await attach(registry, "w2")
    assert (record.seat, record.is_seated) == ("w2@1", True)
    assert record.deaths.startswith("w1@1/")


async def test_a_worker_that_names_no_seat_takes_no_evidence_away(registry: Registry) -> None:
    await registry.move("c", CallEvent.ANSWER, {"worker_id": "w1"})
    await attach(registry, "w1")
    old = await attach_at_a_worker_that_writes_no_seat(registry, "of-before")
    assert (old.seat, old.is_seated) == ("w1@1", False)
    record = await attach(registry, "w2")
    assert record.seat == "w2@1"
    assert record.deaths.startswith("w1@1/")


async def test_only_an_attachment_leaves_a_seat(registry: Registry) -> None:
    await registry.move("c", CallEvent.ANSWER, {"worker_id": "w1"})
    record = await attach(registry, "w1")
    for event in (CallEvent.DETACH, CallEvent.END):
        moved = await registry.move("c", event, {})
        assert moved.record
        assert (moved.record.seat, moved.record.seated_at_ms) == (record.seat, record.seated_at_ms)
        assert moved.record.deaths == ""


async def test_the_newest_seats_are_kept(registry: Registry, clock: Clock) -> None:
    await registry.move("c", CallEvent.ANSWER, {"worker_id": "w"})
    for start in range(1, 2 * MOST_DEATHS):
        clock.forward(10)
        record = await attach(registry, "w", start)
    entries = record.deaths.split()
    assert len(entries) == MOST_DEATHS
    assert entries[-1].startswith(f"w@{2 * MOST_DEATHS - 2}/")


async def test_seats_come_back_with_a_call_that_the_registry_lost(registry: Registry) -> None:
    record = CallRecord("c", CallState.ACTIVE, worker_id="w2", seat="w2@9", seated_at_ms=5, deaths="w1@1/3/4", epoch=5)
    await registry.restore(record)
    left = await attach(registry, "w3")
    assert left.deaths.startswith("w1@1/3/4 w2@9/5/")


async def test_a_death_note_is_found_by_its_seat(registry: Registry) -> None:
    assert await registry.death_notes([]) == {}
    assert await registry.death_notes([NOTE.seat]) == {}
    await registry.record_death(NOTE)
    assert await registry.death_notes(["w9@9", NOTE.seat, "a@b@18"]) == {NOTE.seat: NOTE}
    told_better = replace(NOTE, cause=DeathCause.CRASHED)
    await registry.record_death(told_better)
    assert await registry.death_notes([NOTE.seat]) == {NOTE.seat: told_better}


async def test_a_death_note_is_forgotten_after_an_hour(registry: Registry, clock: Clock) -> None:
    await registry.record_death(NOTE)
    if hasattr(registry, "_deaths"):  # Redis sweeps by its own clock
        clock.forward(DEATH_TTL_MS)
        assert await registry.death_notes([NOTE.seat]) == {}


def test_a_note_of_a_newer_version_is_read_as_far_as_it_goes() -> None:
    assert decode_note(encode_note(NOTE)) == NOTE
    newer = decode_note('{"worker_id":"w","started_at_ms":3,"cause":"melted","core":7,"at_ms":5}')
    assert newer == DeathNote("w", 3, 5, DeathCause.OUTSIDE)
    assert [decode_note(text) for text in ("", "[]", "{}", '{"worker_id":"w"}', "nonsense")] == [None] * 5
    assert decode_note('{"worker_id":"w","started_at_ms":"x"}') is None


async def test_a_call_is_lost_until_it_attaches_again(registry: Registry) -> None:
    await registry.move("c", CallEvent.ANSWER, {"worker_id": "w1"})
    record = await attach(registry, "w1")
    await registry.patch("c", {"lost_at_ms": 7, "lost_why": "no worker", "lost_epoch": record.epoch})
    lost = await registry.get("c")
    assert lost
    assert lost.is_lost
    # whoever attaches it, a worker that knows nothing of this, too
    assert not (await attach_at_a_worker_that_writes_no_seat(registry, "of-before")).is_lost
