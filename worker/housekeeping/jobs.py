"""What housekeeping does to records: close them, find endings that were lost half-way, forget the old.

Plain functions over a registry. Each can be repeated, stopped in the middle, or run by two processes at once.
"""

from shared.calls.outcome import RESULT_OF, Reason
from shared.calls.record import CallRecord
from shared.calls.state import CallState
from shared.registry.contract import Registry
from shared.registry.endings import end_call
from shared.telemetry.catalogue import CALLS, OUTBOX_CLOSED, REAPED
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter

log = get_logger(__name__)

BATCH = 100
RECENT = 500  # calls in which a lost ending is looked for, once a minute
LOST_AFTER_MS = 60_000
WAITING = (CallState.RINGING, CallState.RESERVED)
RINGS_AT_MOST_MS = 600_000  # nobody lets it ring, or waits in line, for so long: the hangup webhook was lost


async def close_records(registry: Registry, meter: Meter) -> int:
    """Take all that waits in the outbox; returns how many records were closed.

    The registry says of each record, once, that it is closed now, however many rounds are at it at the same time.
    """
    closed = 0
    while waiting := await registry.outbox(BATCH):
        for call_id in waiting:
            if record := await registry.close_record(call_id):
                meter.count(OUTBOX_CLOSED)
                log.info("call ended", **summary(record))
                closed += 1
        await registry.outbox_done(waiting)
    return closed


async def enqueue_lost_endings(registry: Registry) -> int:
    """Endings whose second step never came, and that held no slot: put them into the outbox; returns how many."""
    before_ms = registry.now_ms() - LOST_AFTER_MS
    lost = [
        record.call_id
        for record in await registry.recent_calls(RECENT)
        if record.is_over and not record.closed_at_ms and record.ended_at_ms < before_ms
    ]
    for call_id in lost:
        await registry.enqueue_ending(call_id)
    return len(lost)


async def end_what_rings_on(registry: Registry, meter: Meter) -> int:
    """Calls that were announced, refused or placed, and of which nothing was heard since: end them; returns how many.

    Each call is among the newest that are old enough for a while; in a fleet of up to `RECENT` calls a minute
    none is passed over.
    """
    ended = 0
    for record in await registry.recent_calls(RECENT, registry.now_ms() - RINGS_AT_MOST_MS):
        if record.state in WAITING and record.answered_at_ms < registry.now_ms() - RINGS_AT_MOST_MS:
            reason = _reason_of_silence(record)
            if (await end_call(registry, record.call_id, reason)).moved:
                meter.count(CALLS, result=RESULT_OF[reason], reason=reason)
                ended += 1
    if ended:
        meter.count(REAPED, ended, kind="rang_on")
        log.warning("hangups were lost: calls that rang on were ended", calls=ended)
    return ended


def _reason_of_silence(record: CallRecord) -> Reason:
    if record.state is CallState.RESERVED:  # its slot went with its worker, or was given back
        return Reason.NEVER_ATTACHED
    if record.is_held:
        return Reason.ABANDONED
    return Reason.NO_CAPACITY if record.was_refused else Reason.NO_ANSWER


async def apply_retention(registry: Registry, retention_ms: int) -> int:
    """Drop ended calls that are older than this; returns how many."""
    forgotten = await registry.forget_before(registry.now_ms() - retention_ms)
    if forgotten:
        log.info("records forgotten", calls=forgotten)
    return forgotten


def summary(record: CallRecord) -> dict[str, object]:
    """A call in one line of log: no number in full, no text."""
    talked_from_ms = record.first_attached_at_ms or record.ended_at_ms
    return {
        "call_id": record.call_id,
        "result": str(record.result or ""),
        "reason": record.reason,
        "worker_id": record.worker_id,
        "direction": record.direction,
        "from_number": masked(record.from_number),
        "to_number": masked(record.to_number),
        "attachments": record.attachments,
        "call_s": _seconds(record.ended_at_ms - record.created_at_ms),
        "attached_s": _seconds(record.ended_at_ms - talked_from_ms),
        "carrier_status": record.carrier_status,
        "carrier_duration_s": record.carrier_duration_s,
    }


def masked(number: str) -> str:
    """A number with all but its last two digits hidden."""
    return "*" * max(0, len(number) - 2) + number[-2:] if len(number) > 3 else "*" * len(number)


def _seconds(ms: int) -> float:
    return round(ms / 1000, 3)
