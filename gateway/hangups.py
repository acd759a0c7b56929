"""The carrier says that a call is over: end it everywhere, and write down what the carrier knows of it.

The webhook comes once, may come first, last, twice or for a call that nobody here has heard of. When the registry
is away it is kept in memory and done as soon as the registry is back; the end of the process is the last try.

A carrier hangs up as well when the fleet has lost the call: we closed or refused its stream for want of a worker, or
the worker died. Such a call has failed, whatever status the webhook brings.
"""

import asyncio
import json
from collections import deque
from enum import StrEnum
from typing import Any

from gateway.admission import parties
from gateway.notebook import Notebook
from gateway.worker_check import WorkerCheck
from shared.calls.outcome import REASON_OF_CARRIER_STATUS, Reason
from shared.calls.record import CallRecord
from shared.calls.state import CallEvent, CallState
from shared.calls.timeline import TimelineEvent
from shared.registry import Registry, RegistryAway
from shared.registry.blame import convict_if_over
from shared.registry.endings import end_call
from shared.sfvopi.webhooks import HangupWebhook
from shared.telemetry.catalogue import CALLS
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from shared.telemetry.traces import NO_SPAN, Span

MOST_PENDING = 1000
WITHIN_S = 0.8  # for the registry, all questions together
LAST_TRY_S = 2.0  # at exit, for all that waits
SILENCE_S = 5.0  # a stream comes within one or two; who hangs up sooner has merely changed his mind
_ANSWERED = (CallState.RESERVED, CallState.ACTIVE, CallState.DETACHED)


class HangupResult(StrEnum):
    """What a hangup webhook came to; values of the `result` label of webhooks."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    ERROR = "error"  # the registry is away; done later


def call_id_of(hangup: HangupWebhook) -> str:
    """An outbound call that never got a call_uuid is known by its request."""
    return hangup.call_uuid or hangup.request_uuid


def reason_of(hangup: HangupWebhook, record: CallRecord | None, *, has_dead_worker: bool = False) -> Reason:
    """Why the call ended, if it was this webhook that ended it. `has_dead_worker`: nobody is there to have it."""
    if record and record.was_refused:
        return Reason.NO_CAPACITY  # whatever the carrier makes of it
    if record and record.is_held:
        return Reason.ABANDONED
    if record and record.state in _ANSWERED and (record.is_lost or has_dead_worker):
        return Reason.WORKER_LOST if record.attachments else Reason.NEVER_ATTACHED
    if record and record.state is CallState.RESERVED and hangup.duration_s >= SILENCE_S:
        return Reason.NEVER_ATTACHED  # the caller listened to nothing and gave up
    known = REASON_OF_CARRIER_STATUS.get(hangup.call_status.upper())
    if known:
        return known
    return Reason.CALLER_HUNG_UP if record and record.state in _ANSWERED else Reason.CARRIER_FAILED


def changes_of(hangup: HangupWebhook) -> dict[str, Any]:
    """What the carrier tells, as fields of the record; what it does not tell changes nothing."""
    told = {"carrier_status": hangup.call_status, "hangup_cause": hangup.hangup_cause}
    return {
        **parties(hangup),
        **{name: value for name, value in told.items() if value},
        "carrier_duration_s": hangup.duration_s,
    }


class Hangups:
    """Ends calls on the carrier's word."""

    def __init__(self, registry: Registry, notebook: Notebook, meter: Meter, worker_check: WorkerCheck) -> None:
        self._registry = registry
        self._worker_check = worker_check
        self._later: set[asyncio.Task[None]] = set()
        self._notebook = notebook
        self._meter = meter
        self._log = get_logger(__name__)
        self._pending: deque[HangupWebhook] = deque(maxlen=MOST_PENDING)

    async def take(self, hangup: HangupWebhook, span: Span = NO_SPAN) -> HangupResult:
        """End the call, now or when the registry is back. Raises nothing."""
        try:
            async with asyncio.timeout(WITHIN_S):
                return await self._end(hangup, span)
        except (RegistryAway, TimeoutError):
            self._pending.append(hangup)
            return HangupResult.ERROR

    async def retry(self) -> None:
        """Do what had to wait. Raises `RegistryAway` when it still has to."""
        while self._pending:
            hangup = self._pending.popleft()
            try:
                await self._end(hangup)
            except (RegistryAway, asyncio.CancelledError):
                self._pending.appendleft(hangup)
                raise

    async def close(self) -> None:
        """A last try at what still waits, for it goes with this process. Raises nothing."""
        if self._later:
            _, late = await asyncio.wait(self._later, timeout=LAST_TRY_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        try:
            async with asyncio.timeout(LAST_TRY_S):
                await self.retry()
        except (RegistryAway, TimeoutError):
            self._log.warning("hangups were not written down: the registry is away", count=len(self._pending))

    async def _end(self, hangup: HangupWebhook, span: Span = NO_SPAN) -> HangupResult:
        call_id, changes = call_id_of(hangup), changes_of(hangup)
        record = await self._registry.get(call_id)
        span.join(record.traceparent if record else "")
        if record is None or not record.state.is_live or record.is_lost:
            return await self._end_as(hangup, record, changes)
        death = await self._worker_check.death_of_worker(record)
        if death is not None:
            return await self._end_as(hangup, record, changes, death)
        later = asyncio.create_task(self._end_later(hangup, record), name=f"hangup:{call_id}")
        self._later.add(later)  # the carrier need not wait until we know
        later.add_done_callback(self._later.discard)
        return HangupResult.ACCEPTED

    async def _end_later(self, hangup: HangupWebhook, record: CallRecord) -> None:
        """Where the worker's machine does not answer at all."""
        try:
            death = await self._worker_check.death_in_the_end(record)
            await self._end_as(hangup, record, changes_of(hangup), death)
        except RegistryAway:
            self._pending.append(hangup)
        except asyncio.CancelledError:
            self._pending.append(hangup)
            raise

    async def _end_as(
        self, hangup: HangupWebhook, record: CallRecord | None, changes: dict[str, Any], death: str = ""
    ) -> HangupResult:
        """`death`: of the call's worker, in a line, if it is dead."""
        call_id = call_id_of(hangup)
        reason = reason_of(hangup, record, has_dead_worker=bool(death))
        if record and reason in (Reason.WORKER_LOST, Reason.NEVER_ATTACHED) and (death or record.is_lost):
            changes = {**changes, "detail": death or record.lost_why}
            self._log.warning("a call that the fleet lost was hung up", call_id=call_id, why=changes["detail"])
        ended = await end_call(self._registry, call_id, reason, changes)
        if not ended.moved:
            return await self._add(hangup, ended.record, changes_of(hangup))
        if ended.record and ended.record.result:
            self._meter.count(CALLS, result=ended.record.result, reason=reason)
            self._notebook.write(call_id, TimelineEvent.ENDED, reason=reason, result=str(ended.record.result))
        self._write_down(call_id, hangup)
        if death and record and record.is_seated:  # it has no second attempt
            for note in (await self._registry.death_notes([record.seat])).values():
                if note.call_id == call_id:
                    await convict_if_over(self._registry, note)
        if ended.record and ended.before.is_live:
            await self._registry.nudge(ended.record.worker_id, json.dumps({"call_id": call_id}))
        return HangupResult.ACCEPTED

    async def _add(self, hangup: HangupWebhook, record: CallRecord | None, changes: dict[str, Any]) -> HangupResult:
        """The call was over before the carrier said so: its figures are added, once."""
        if record and record.is_hung_up:
            return HangupResult.DUPLICATE
        await self._registry.move(call_id_of(hangup), CallEvent.CARRIER_ENDED, changes)
        self._write_down(call_id_of(hangup), hangup)
        return HangupResult.ACCEPTED

    def _write_down(self, call_id: str, hangup: HangupWebhook) -> None:
        self._notebook.write(
            call_id,
            TimelineEvent.CARRIER_ENDED,
            status=hangup.call_status,
            duration_s=hangup.duration_s,
            cause=hangup.hangup_cause,
        )
