"""Ends what the dead left behind.

Slots end by themselves; what is left to do is the calls behind them: one that was answered and never attached,
one whose worker died and that nobody took over, one that ended while its slot was not given back. A call that
was attached anew in the meantime is safe: it has another epoch than the one that was judged.

Silence means death only while the registry was there to be spoken to. After it was away (or we were), live
calls and workers are left alone until the workers have had time to speak: `is_settled`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from shared.calls.outcome import RESULT_OF, Reason
from shared.calls.record import CallRecord
from shared.calls.state import CallState
from shared.registry.contract import LapsedSlot, Registry
from shared.registry.endings import end_call
from shared.settings import HousekeepingSettings
from shared.telemetry.catalogue import CALLS, REAPED
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter

log = get_logger(__name__)

ATTACH_GRACE_MS = 2_000  # a stream that came at the last moment is being attached
LEASES_UNTIL_REMOVED = 10


@dataclass(frozen=True, slots=True)
class Grace:
    """How long the reaper waits, in ms."""

    attach_by_ms: int  # from the answer to the first stream
    lost_after_ms: int  # from the end of a live call's slot: its carrier may still reconnect
    remove_after_ms: int  # from the end of a worker's lease

    @classmethod
    def of(cls, settings: HousekeepingSettings) -> "Grace":
        return cls(
            attach_by_ms=int(settings.attach_by_s * 1000) + ATTACH_GRACE_MS,
            lost_after_ms=int((settings.reconnect_window_s + settings.lease_s) * 1000),
            remove_after_ms=int(LEASES_UNTIL_REMOVED * settings.lease_s * 1000),
        )


class Verdict(StrEnum):
    """What becomes of a lapsed slot and its call."""

    LEAVE = "leave"  # it is too early, or not ours to judge
    RELEASE = "release"  # there is no call to end
    ENQUEUE = "enqueue"  # the call has ended, its ending stopped half-way
    NEVER_ATTACHED = "never_attached"
    WORKER_LOST = "worker_lost"


def judge(record: CallRecord | None, slot: LapsedSlot, now_ms: int, grace: Grace, is_settled: bool) -> Verdict:
    """What to do about a lapsed slot with this call behind it."""
    if record is None:
        return Verdict.RELEASE
    match record.state:
        case CallState.ENDED:
            return Verdict.RELEASE if record.closed_at_ms else Verdict.ENQUEUE
        case CallState.RINGING:
            return Verdict.RELEASE  # reserved for an answer that failed on its way
        case CallState.RESERVED:
            answered_at_ms = record.answered_at_ms or record.created_at_ms
            return Verdict.NEVER_ATTACHED if now_ms >= answered_at_ms + grace.attach_by_ms else Verdict.LEAVE
        case CallState.ACTIVE | CallState.DETACHED:
            is_lost = is_settled and now_ms >= slot.ended_at_ms + grace.lost_after_ms
            return Verdict.WORKER_LOST if is_lost else Verdict.LEAVE
        case _:
            return Verdict.LEAVE  # a state of a newer version, which will know what to do


async def reap(registry: Registry, grace: Grace, meter: Meter, *, is_settled: bool = True) -> int:
    """Look at all lapsed slots, then at workers that have been silent for long; returns how many were ended."""
    reaped = 0
    busy_workers: set[str] = set()  # those with calls that are still to be judged
    for slot in await registry.lapsed_slots():
        record = await registry.get(slot.call_id)
        verdict = judge(record, slot, registry.now_ms(), grace, is_settled)
        if verdict is Verdict.LEAVE:
            busy_workers.add(slot.worker_id)
        else:
            reaped += await _carry_out(verdict, registry, slot, record, meter)
    if is_settled:
        reaped += await _remove_workers(registry, grace, meter, busy_workers)
    return reaped


async def _carry_out(
    verdict: Verdict, registry: Registry, slot: LapsedSlot, record: CallRecord | None, meter: Meter
) -> bool:
    if verdict is Verdict.RELEASE:
        await registry.release(slot.call_id)
    elif verdict is Verdict.ENQUEUE:
        await registry.enqueue_ending(slot.call_id)
        meter.count(REAPED, kind="already_ended")
    elif record is not None:
        ended = await end_call(registry, slot.call_id, Reason(verdict), fence=record.epoch)
        if not ended.moved:
            return False  # it lives again, or somebody else was first
        meter.count(CALLS, result=RESULT_OF[Reason(verdict)], reason=Reason(verdict))
        meter.count(REAPED, kind=str(verdict))
        log.warning("call reaped", call_id=slot.call_id, worker_id=slot.worker_id, reason=str(verdict))
    return True


async def _remove_workers(registry: Registry, grace: Grace, meter: Meter, but: set[str]) -> int:
    leases: Mapping[str, int] = {view.record.worker_id: view.lease_until_ms for view in await registry.workers()}
    gone = [
        worker_id
        for worker_id, lease_until_ms in leases.items()
        if worker_id not in but and registry.now_ms() >= lease_until_ms + grace.remove_after_ms
    ]
    for worker_id in gone:
        await registry.remove_worker(worker_id)
        meter.count(REAPED, kind="worker")
        log.warning("worker removed: silent for too long", worker_id=worker_id)
    return len(gone)
