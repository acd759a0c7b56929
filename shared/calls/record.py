"""The record of one call: all that is known of it, frozen.

Registries store it and apply changes to it field by field; `SCHEMA` travels with it, so that two versions can
share a fleet. Times are Unix milliseconds of Redis' clock (`_at_ms`), durations are in seconds (`_s`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from shared.calls.outcome import RESULT_OF, Result
from shared.calls.state import CallState
from shared.fleet.worker import worker_of
from shared.sfvopi.formats import AudioFormat, Codec
from shared.sfvopi.webhooks import AnswerWebhook

SCHEMA = 3
NO_CAPACITY_DETAIL = "no worker could take it when it was answered"
HELD_DETAIL = "waits in line for a worker"
RESULT_BY_NAME: dict[str, Result] = {str(reason): result for reason, result in RESULT_OF.items()}


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call. Numbers are E.164 and stand here in full: mask them before they reach a log."""

    call_id: str  # SFVoPI's call_uuid
    state: CallState = CallState.NONE
    schema: int = SCHEMA
    # from the webhooks
    direction: str = ""  # INBOUND | OUTBOUND
    from_number: str = ""
    to_number: str = ""
    request_uuid: str = ""  # outbound only
    traceparent: str = ""  # W3C trace context of the webhook that was first; empty: no traces
    answered_at_ms: int = 0  # when we answered the webhook, or it was this call's turn in line, by Redis' clock
    # from the answer
    bot: str = ""  # module:function, as configured for the number
    codec: str = Codec.PCMA
    sample_rate: int = 8000
    worker_id: str = ""  # the worker that holds the slot
    # from the stream
    epoch: int = 0  # which attachment is the current one; 0 = never attached
    attachments: int = 0
    resumed: int = 0  # sessions after the first that had the conversation of the one before
    afresh: int = 0  # sessions after the first that began anew
    stream_id: str = ""
    carrier_call_id: str = ""  # `start`'s own callId, which need not be call_id
    first_attached_at_ms: int = 0
    # from the worker and the registry
    seat: str = ""  # `worker_id@started_at_ms`: which start of which worker has the session; see `is_seated`
    seated_at_ms: int = 0  # since when that session exists
    deaths: str = ""  # sessions that began before this one: see `shared/calls/culprit.py`
    lost_at_ms: int = 0  # the fleet had no worker for the stream: it was closed or refused
    lost_why: str = ""  # in one line
    lost_epoch: int = 0  # which attachment was lost; see `is_lost`
    # the end
    created_at_ms: int = 0
    ended_at_ms: int = 0
    reason: str = ""  # a `Reason`; empty while the call lives
    detail: str = ""  # one line for people; never text of the conversation
    carrier_status: str = ""
    carrier_duration_s: float = -1.0  # -1: no hangup webhook yet
    hangup_cause: str = ""
    closed_at_ms: int = 0  # when housekeeping took it from the outbox
    figures: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """The call's own figures (answer_ms, attach_ms, first_audio_ms, turns, …): names from the metrics catalogue."""

    @property
    def format(self) -> AudioFormat:
        """The audio format of the answer."""
        return AudioFormat(Codec(self.codec), self.sample_rate)

    @property
    def result(self) -> Result | None:
        """The result that follows from the reason; None while the call lives, and for a newer version's reason."""
        return RESULT_BY_NAME.get(self.reason)

    @property
    def is_over(self) -> bool:
        return self.state is CallState.ENDED

    @property
    def was_refused(self) -> bool:
        """The last that we said to the carrier was no, and it has not asked again."""
        return self.state is CallState.RINGING and self.detail == NO_CAPACITY_DETAIL

    @property
    def is_held(self) -> bool:
        """The caller waits in line, at a gateway, for a slot."""
        return self.state is CallState.RINGING and self.detail == HELD_DETAIL

    @property
    def is_seated(self) -> bool:
        """Whether `seat` says where the session is: not while a hand-over goes on, nor at a worker that names none."""
        return bool(self.seat) and worker_of(self.seat) == self.worker_id

    @property
    def is_lost(self) -> bool:
        """The fleet had no worker for the call's stream, and none has taken it since."""
        return self.lost_at_ms > 0 and self.lost_epoch == self.epoch

    @property
    def is_hung_up(self) -> bool:
        """The carrier's hangup webhook has come."""
        return self.carrier_duration_s >= 0

    def attach_by_ms(self, promised_ms: int, window_ms: int) -> int:
        """Until when the first stream may come: as its token promises; later, if its turn in line came later."""
        return max(promised_ms, self.answered_at_ms + window_ms)

    def with_changes(self, changes: Mapping[str, Any]) -> "CallRecord":
        """The record with these fields changed. Raises `TypeError` for a field that a record does not have."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON-ready values, `result`, and whether the call is `held`."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain["state"] = str(self.state)
        plain["figures"] = dict(self.figures)
        plain["result"] = str(self.result or "")
        plain["held"] = self.is_held
        return plain


def own_number(call: AnswerWebhook | CallRecord) -> str:
    """The number of ours that the call goes to or comes from: it chooses bot and format."""
    return call.from_number if call.direction == "OUTBOUND" else call.to_number
