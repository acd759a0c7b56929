"""Closing records and retention, over both registries."""

import pytest
from structlog.testing import capture_logs

from shared.calls.outcome import Reason
from shared.calls.record import HELD_DETAIL, NO_CAPACITY_DETAIL
from shared.calls.state import CallEvent
from shared.registry import Registry
from shared.registry.endings import end_call
from shared.telemetry.meter import Meter
from tests.conftest import Clock
from worker.housekeeping.jobs import apply_retention, close_records, end_what_rings_on, enqueue_lost_endings, masked

CLOSED = "sfvopi_records_closed_total"


@pytest.fixture
def meter() -> Meter:
    return Meter("housekeeping")


async def test_an_ended_call_is_closed_once_however_often_it_is_enqueued(
    registry: Registry, meter: Meter, clock: Clock
) -> None:
    await registry.move("c", CallEvent.ANSWER, {})
    await end_call(registry, "c", Reason.BOT_ENDED)
    clock.forward(1_000)
    assert await close_records(registry, meter) == 1
    await end_call(registry, "c", Reason.IDLE)  # a second hangup webhook
    clock.forward(1_000)
    assert await close_records(registry, meter) == 0
    record = await registry.get("c")
    assert record is not None
    assert record.closed_at_ms == clock() - 1_000
    assert await registry.outbox() == []
    assert meter.value(CLOSED) == 1


async def test_a_full_outbox_is_emptied_in_one_run(registry: Registry, meter: Meter) -> None:
    for n in range(250):
        await end_call(registry, f"c{n}", Reason.CALLER_HUNG_UP)
    assert await close_records(registry, meter) == 250
    assert await registry.outbox() == []


async def test_what_is_in_the_outbox_without_a_record_is_dropped(registry: Registry, meter: Meter) -> None:
    await registry.enqueue_ending("forgotten")
    assert await close_records(registry, meter) == 0
    assert await registry.outbox() == []


async def test_the_line_of_a_call_tells_its_outcome_and_no_number(
    registry: Registry, meter: Meter, clock: Clock
) -> None:
    numbers = {"from_number": "919812345678", "to_number": "+918000000001"}
    await registry.move("c", CallEvent.ANSWER, {**numbers, "worker_id": "w"})
    clock.forward(500)
    await registry.move("c", CallEvent.ATTACH, {})
    clock.forward(2_000)
    await end_call(registry, "c", Reason.BOT_ENDED, {"detail": "said goodbye"})
    with capture_logs() as lines:
        await close_records(registry, meter)
    (line,) = lines
    assert (line["event"], line["call_id"]) == ("call ended", "c")
    assert (line["result"], line["reason"]) == ("completed", "bot_ended")
    assert (line["call_s"], line["attached_s"]) == (2.5, 2.0)
    assert "98123456" not in str(line)
    assert "80000000" not in str(line)


@pytest.mark.parametrize(
    ("number", "shown"), [("+919812345678", "***********78"), ("112", "***"), ("", ""), ("anonymous", "*******us")]
)
def test_numbers_are_masked_to_their_last_two_digits(number: str, shown: str) -> None:
    assert masked(number) == shown


async def test_an_ending_that_stopped_half_way_is_found(registry: Registry, meter: Meter, clock: Clock) -> None:
    """A gateway moved the call to ENDED and died before it wrote to the outbox; there was no slot to lapse."""
    await registry.move("c", CallEvent.END, {"reason": str(Reason.NO_ANSWER)})
    await registry.move("live", CallEvent.ANSWER, {})
    assert await enqueue_lost_endings(registry) == 0
    clock.forward(60_001)
    assert await enqueue_lost_endings(registry) == 1
    assert await close_records(registry, meter) == 1
    assert await enqueue_lost_endings(registry) == 0


async def test_a_call_whose_hangup_was_lost_does_not_ring_for_ever(
    registry: Registry, meter: Meter, clock: Clock
) -> None:
    """Refused by the primary, with no fallback; or announced and never answered."""
    await registry.move("refused", CallEvent.RING, {"detail": NO_CAPACITY_DETAIL})
    await registry.move("rang", CallEvent.RING, {})
    await registry.move("placed", CallEvent.ANSWER, {})  # its slot went with a worker that left in good order
    await registry.move("talks", CallEvent.ANSWER, {})
    await registry.move("talks", CallEvent.ATTACH, {})
    clock.forward(600_000)
    assert await end_what_rings_on(registry, meter) == 0
    clock.forward(1)
    await registry.move("new", CallEvent.RING, {})
    assert await end_what_rings_on(registry, meter) == 3
    assert await end_what_rings_on(registry, meter) == 0
    reasons = {record.call_id: record.reason for record in await registry.recent_calls()}
    assert reasons == {"refused": Reason.NO_CAPACITY, "rang": Reason.NO_ANSWER, "placed": Reason.NEVER_ATTACHED} | {
        "talks": "",
        "new": "",
    }
    assert meter.value("sfvopi_reaped_total", kind="rang_on") == 3
    assert meter.value("sfvopi_calls_total", result="refused", reason="no_capacity") == 1
    assert meter.value("sfvopi_calls_total", result="unanswered", reason="no_answer") == 1
    assert await close_records(registry, meter) == 3


async def test_retention_forgets_what_is_old(registry: Registry, meter: Meter, clock: Clock) -> None:
    await end_call(registry, "old", Reason.BOT_ENDED)
    clock.forward(10_000)
    await end_call(registry, "new", Reason.BOT_ENDED)
    assert await apply_retention(registry, 5_000) == 1
    assert [record.call_id for record in await registry.recent_calls()] == ["new"]
    assert await close_records(registry, meter) == 1


async def test_a_call_whose_caller_waited_in_line_is_ended_when_nobody_said_that_he_left(
    registry: Registry, clock: Clock, meter: Meter
) -> None:
    """Its gateway died, the carrier never came back, and the hangup webhook was lost; it had rung for a while, too."""
    await registry.move("held", CallEvent.RING, {})
    clock.forward(60_000)
    await registry.move("held", CallEvent.RING, {"detail": HELD_DETAIL, "answered_at_ms": clock()})
    clock.forward(600_000)
    assert await end_what_rings_on(registry, meter) == 0
    clock.forward(1)
    assert await end_what_rings_on(registry, meter) == 1
    record = await registry.get("held")
    assert record is not None
    assert (record.reason, record.result) == (Reason.ABANDONED, "refused")
