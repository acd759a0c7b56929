"""What became of a call, as the caller and the carrier saw it. Holds no token, no number, no key of the caller's."""

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

LONGEST_PLAIN_SEGMENT = 15  # longer path segments are taken for tokens and secrets


class CallOutcome(StrEnum):
    """How a call went, in one word."""

    COMPLETED = "completed"  # answered, streamed, heard, and ended as planned
    REFUSED = "refused"  # the server said no, by an HTTP status at the webhook or at the upgrade
    FAILED = "failed"  # anything else; `errors` says what


@dataclass(slots=True)
class Turn:
    """One thing the caller said; times are ms after `start`, of the first and last loud frame."""

    text: str
    from_ms: float
    to_ms: float | None = None
    answered_after_ms: float | None = None  # from to_ms to the bot's first sound
    is_interruption: bool = False


@dataclass(slots=True)
class CallReport:
    """All figures of one call. None: it did not come to that. Times of streams count from `start`."""

    call_uuid: str = ""
    outcome: CallOutcome = CallOutcome.FAILED
    ended_by: str = ""  # caller, bot, network, limit; empty: there was no stream
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # odd, but nobody's fault

    webhook_status: int | None = None  # of the answer webhook
    fallback_used: bool = False
    fallback_status: int | None = None
    answer_ms: float | None = None  # from the first webhook to a usable answer, fallback included
    connect_ms: float | None = None  # of the first WebSocket
    upgrade_status: int | None = None  # the HTTP status of a refused upgrade
    stream_url: str = ""  # without tokens
    codec: str = ""
    sample_rate: int = 0
    stream_ids: list[str] = field(default_factory=list)
    reconnects: int = 0  # that succeeded
    close_code: int | None = None  # of the last close, whoever asked for it; 1006: without a close frame
    close_reason: str = ""
    hangup_statuses: list[int | None] = field(default_factory=list)  # one per hangup webhook; None: no answer
    duration_s: float | None = None  # from answer to hangup

    started_at_ms: int = 0  # of the first `start`, wall clock
    first_frame_ms: float | None = None  # the first playAudio has arrived
    first_audio_ms: float | None = None  # the caller hears a first sound: prebuffer and leading silence included
    barge_in_ms: list[float] = field(default_factory=list)  # from the caller's first loud frame to clearAudio
    silence_ms: list[float] = field(default_factory=list)  # from the same to silence at the caller's ear
    response_ms: list[float] = field(default_factory=list)  # from the caller's last loud frame to the bot's sound
    underruns: int = 0
    gaps_ms: list[float] = field(default_factory=list)  # one per underrun
    sounds_ms: list[tuple[float, float]] = field(default_factory=list)  # when the bot was heard: from, to
    heard_s: float = 0.0  # bot audio played to the caller
    heard_digits: str = ""  # keys that the bot pressed, as they were heard; only if the plan wants them, or a recording
    most_ahead_ms: float = 0.0  # the most audio that was queued at the carrier
    after_clear_ms: float = 0.0  # audio that still came right after a clearAudio

    frames_sent: int = 0  # media
    frames_lost: int = 0  # media while no socket was up, or the server did not read
    frames_received: int = 0  # playAudio, usable
    frames_wrong_format: int = 0  # playAudio in another codec or rate than the answer's: not played
    frames_dropped: int = 0  # anything that is no message
    checkpoints: list[str] = field(default_factory=list)  # played, and acknowledged
    checkpoints_unplayed: list[str] = field(default_factory=list)  # cleared, or cut off by the end
    clear_numbers: list[int] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    recording: str = ""
    lag_ms: float = 0.0  # how late this simulator itself was at worst: above 20, judge the other figures with care

    heard_pcm: bytes = field(default=b"", repr=False)  # from `start` on, at sample_rate; only if the plan keeps audio

    def to_dict(self) -> dict[str, Any]:
        """For JSON: everything but the audio."""
        report = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "heard_pcm"}
        report["outcome"] = str(self.outcome)
        report["turns"] = [{f.name: getattr(turn, f.name) for f in fields(turn)} for turn in self.turns]
        return report


def redact_url(url: str) -> str:
    """The URL without user, query, and whatever in its path may be a token."""
    parts = urlsplit(url)
    path = "/".join(s if len(s) <= LONGEST_PLAIN_SEGMENT else f"{s[:4]}…" for s in parts.path.split("/"))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"
