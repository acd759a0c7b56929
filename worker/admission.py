"""May this stream attach? Decisions over what is known of its call; nothing here awaits."""

from dataclasses import dataclass

from shared.calls.record import CallRecord
from shared.calls.state import CallState
from shared.sfvopi.closing import Refusal

SILENT_S = 1.0  # a stream that brought nothing for so long gives way to a second one
RETRY_AFTER_S = 1


class StreamRefused(Exception):
    """The upgrade is answered with an HTTP status; `result` is its name in the metrics."""

    def __init__(self, status: Refusal, result: str) -> None:
        super().__init__(result)
        self.status = status
        self.result = result

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(RETRY_AFTER_S)} if self.status is Refusal.UNAVAILABLE else {}


def refuse_by_record(record: CallRecord | None, promised_ms: int, window_ms: int, now_ms: int) -> None:
    """Raises `StreamRefused` when the call's record says that no stream may attach any more, or yet."""
    if record is None or record.state in (CallState.NONE, CallState.RINGING):
        raise StreamRefused(Refusal.UNKNOWN, "unknown_call")
    if record.is_over:
        raise StreamRefused(Refusal.FORBIDDEN, "ended")
    if record.state is CallState.RESERVED and now_ms > record.attach_by_ms(promised_ms, window_ms):
        raise StreamRefused(Refusal.FORBIDDEN, "not_attached_in_time")


@dataclass(frozen=True, slots=True)
class FirstStream:
    """The stream that a call has already, as a second one finds it."""

    is_there: bool
    silent_s: float


def gives_way(first: FirstStream) -> bool:
    """Whether the second stream may take over now."""
    return not first.is_there or first.silent_s >= SILENT_S


def compare_call_header(given: str | None, call_id: str) -> str:
    """X-Call-UUID of the upgrade against the token's call: same, absent or different. Never trusted, only counted."""
    if not given:
        return "absent"
    return "same" if given == call_id else "different"
