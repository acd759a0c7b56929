"""The carrier says that a call is over: end it everywhere, and write down what the carrier knows of it.

The webhook comes once, may come first, last, twice or for a call that nobody here has heard of. When the registry
is away it is kept in memory and done as soon as the registry is back; the end of the process is the last try.
"""

import asyncio
import json
from collections import deque
from enum import StrEnum
from typing import Any

from gateway.admission import parties
from gateway.notebook import Notebook
from shared.calls.outcome import REASON_OF_CARRIER_STATUS, Reason
from shared.calls.record import CallRecord
from shared.calls.state import CallEvent, CallState
from shared.calls.timeline import TimelineEvent
from shared.registry import Registry, RegistryAway
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


def reason_of(hangup: HangupWebhook, record: CallRecord | None) -> Reason:
    """Why the call ended, if it was this webhook that ended it."""
    if record and record.was_refused:
        return Reason.NO_CAPACITY  # whatever the carrier makes of it
    if record and record.is_held:
        return Reason.ABANDONED
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

    def __init__(self, registry: Registry, notebook: Notebook, meter: Meter) -> None:
        self._registry = registry
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
        try:
            async with asyncio.timeout(LAST_TRY_S):
                await self.retry()
        except (RegistryAway, TimeoutError):
            self._log.warning("hangups were not written down: the registry is away", count=len(self._pending))

    async def _end(self, hangup: HangupWebhook, span: Span = NO_SPAN) -> HangupResult:
        call_id, changes = call_id_of(hangup), changes_of(hangup)
        record = await self._registry.get(call_id)
        span.join(record.traceparent if record else "")
        reason = reason_of(hangup, record)
        ended = await end_call(self._registry, call_id, reason, changes)
        if not ended.moved:
            return await self._add(hangup, ended.record, changes)
        if ended.record and ended.record.result:
            self._meter.count(CALLS, result=ended.record.result, reason=reason)
            self._notebook.write(call_id, TimelineEvent.ENDED, reason=reason, result=str(ended.record.result))
        self._write_down(call_id, hangup)
        if ended.record and ended.before in (CallState.ACTIVE, CallState.DETACHED):
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
