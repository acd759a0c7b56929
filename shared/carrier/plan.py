"""What a call shall be, before it is placed: whom to ask, what the caller does, and what the carrier does to it.

Frozen data only. The knobs stand for what the carrier's documents do not say: every one is a thing that a real
carrier or network may do.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from shared.sfvopi.formats import AudioFormat

# -- what the caller does, in order --


@dataclass(frozen=True, slots=True)
class Say:
    """Speak: `pcm` (16-bit mono at `rate`) if given, else `text`, made into speech before the call is placed."""

    text: str = ""
    pcm: bytes = field(default=b"", repr=False)
    rate: int = 8000


@dataclass(frozen=True, slots=True)
class Ask(Say):
    """Speak, and wait until the bot has answered and has been quiet for `quiet_s`; else say it again.

    No answer within `answer_s` is none. `is_answer` is given what was heard since (16-bit mono, and its rate); by
    default any sound is an answer. Whoever got none after `tries` has an error in the report, and goes on.
    """

    is_answer: Callable[[bytes, int], bool] | None = None  # needs `keep_audio`
    answer_s: float = 8.0
    quiet_s: float = 0.6
    tries: int = 1


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Be silent until something outside the call is so; after `limit_s` go on regardless."""

    is_so: Callable[[], bool]
    limit_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Be silent for so many seconds."""

    s: float


@dataclass(frozen=True, slots=True)
class WaitForBot:
    """Wait until the bot has spoken and has then been quiet for `quiet_s`; after `limit_s` go on regardless."""

    quiet_s: float = 1.0
    limit_s: float = 20.0


@dataclass(frozen=True, slots=True)
class InterruptAfter:
    """Wait until the bot has been speaking for `s` seconds, and go on while it still speaks."""

    s: float
    limit_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Press:
    """Press one key."""

    digit: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """Hang up. A caller whose steps are over without this stays on the line, silent."""


Step = Say | Ask | Wait | WaitFor | WaitForBot | InterruptAfter | Press | HangUp

# -- what the carrier and the network do --


class Dialect(StrEnum):
    """How the carrier's messages look."""

    SFVOPI = "sfvopi"
    SUPERSET = "superset"  # SFVoPI's and Plivo's shapes in one object


Frame = str | bytes | Callable[[str], str | bytes]
"""A raw WebSocket frame, or a function that makes it from the current streamId."""


@dataclass(frozen=True, slots=True)
class RawFrame:
    """A frame to be sent as it is, `at_s` seconds after `start`; before `start` if negative."""

    at_s: float
    frame: Frame


@dataclass(frozen=True, slots=True)
class Stall:
    """Frames are held back from `at_s` after `start` on, for `for_s` seconds, then they come all at once."""

    at_s: float
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """The unknown and the unkind. Defaults: what is documented, or most likely."""

    reconnects: int = 2  # attempts in a whole call, after sockets that dropped unasked
    reconnect_after_s: float = 0.5
    new_stream_id: bool = False  # on reconnection: a new streamId, or the old one
    on_our_close: Literal["end", "reconnect"] = "end"  # what a close with 1000 by the server does
    drop_socket_at_s: float | None = None  # the network breaks the socket, then the carrier reconnects
    drop_how: Literal["abort", "silent"] = "abort"  # torn down, or left half open: neither read, written nor closed
    starts: int = 1  # how many `start` messages open a stream; 0: it never comes
    raw_frames: tuple[RawFrame, ...] = ()
    jitter_ms: float = 0.0  # each frame is late by up to so much; order is kept
    stall: Stall | None = None
    reads_nothing: Stall | None = None  # the carrier leaves the server's frames unread for a while
    seed: int = 1  # of the jitter
    prebuffer_ms: float = 60.0  # audio that is gathered before playing into silence
    hangup: Literal["sent", "lost", "doubled"] = "sent"
    hangup_late_s: float = 0.0
    hangup_first: bool = False  # the hangup webhook before the socket closes
    close_how: Literal["close", "abort", "leave_open"] = "close"  # how the carrier ends the stream
    close_code: int = 1000
    leave_open_s: float = 10.0  # with leave_open: how long the socket stays, silent and unread
    answer_limit_s: float = 10.0
    hangup_limit_s: float = 5.0
    connect_limit_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPlan:
    """One call. Empty ids are made up when it is placed, so that one plan serves many calls.

    With `stream_url` no webhook is asked: the carrier connects there at once, in `stream_format` (PCMU 8000 in
    the superset dialect, else PCMA 8000).
    """

    answer_url: str = ""
    steps: tuple[Step, ...] = ()
    method: Literal["POST", "GET"] = "POST"
    fallback_url: str = ""
    hangup_url: str = ""
    ring_url: str = ""  # outbound calls: told before the answer
    call_uuid: str = ""
    request_uuid: str = ""
    from_number: str = "+919876543210"
    to_number: str = "+918047000000"
    direction: Literal["INBOUND", "OUTBOUND"] = "INBOUND"
    stream_url: str = ""
    stream_format: AudioFormat | None = None
    extra_headers: tuple[tuple[str, str], ...] = ()  # with stream_url: there is no answer to bring them
    dialect: Dialect = Dialect.SFVOPI
    knobs: Knobs = Knobs()
    hangup_after_s: float | None = None  # the caller hangs up so long after `start`, whatever is left to say
    max_s: float = 300.0  # a call that lives longer has failed
    expects_audio: bool = True  # a call in which nothing is heard has failed
    record_path: str = ""  # stereo WAV: left the caller, right the bot
    keep_audio: bool = False  # keep what was heard in the report
    hears_keys: bool = False  # tell which keys the bot pressed; a call that is recorded tells it anyway
