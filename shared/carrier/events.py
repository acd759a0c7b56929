"""What happens in a call, told live to whoever wants to watch it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class EventKind(StrEnum):
    """Everything that is told. Comments: what `data` holds."""

    ANSWER_ASKED = "answer_asked"  # which: primary | fallback
    ANSWERED = "answered"  # which, status, ms, codec, sample_rate
    ANSWER_FAILED = "answer_failed"  # which, status, why
    CONNECTED = "connected"  # ms, url (without token), attempt
    CONNECT_FAILED = "connect_failed"  # why, status
    STREAM_STARTED = "stream_started"  # stream_id
    BOT_SPEAKING = "bot_speaking"
    BOT_QUIET = "bot_quiet"  # told when the silence has lasted a while, dated when it began
    CALLER_SPEAKING = "caller_speaking"  # text, is_interruption
    CALLER_QUIET = "caller_quiet"
    KEY_PRESSED = "key_pressed"  # digit
    AUDIO_CLEARED = "audio_cleared"  # number, dropped_ms, and barge_in_ms if it answers an interruption
    CHECKPOINT_PLAYED = "checkpoint_played"  # name
    SOCKET_DROPPED = "socket_dropped"  # code, reason
    ENDED = "ended"  # by, code
    HANGUP_SENT = "hangup_sent"  # status


@dataclass(frozen=True, slots=True)
class CarrierEvent:
    """One happening; `t_s` counts from when the call was placed, `at_ms` is the wall clock."""

    kind: EventKind
    t_s: float
    at_ms: int
    data: Mapping[str, object] = field(default_factory=dict)


Watcher = Callable[[CarrierEvent], None]
