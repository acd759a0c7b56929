"""One stream's events, read in order: what cannot be used is dropped and counted, and a flood is cut off unread.

Time is a parameter: seconds on any clock that never goes back.
"""

from collections import Counter
from collections.abc import Callable

from shared.sfvopi.errors import DropReason, MessageDropped
from shared.sfvopi.formats import AudioFormat
from shared.sfvopi.media import MediaShape
from shared.sfvopi.messages import Event, MediaReceived, StreamStarted
from shared.sfvopi.parse import parse_event

# A call brings 50 messages a second. The burst covers what piles up while a stalled connection recovers (20 s).
FLOOD_BURST = 1000
FLOOD_PER_S = 200.0


class EventReader:
    """Reads the frames of one stream. Nothing that a peer sends makes it raise.

    Until `start` has come, everything else is out of order (`is_started=True` if somebody has read it already).
    A second `start`, after a reconnection, is an event like the first.
    """

    def __init__(
        self,
        format: AudioFormat,
        *,
        is_started: bool = False,
        on_drop: Callable[[DropReason], None] | None = None,
        flood_burst: int = FLOOD_BURST,
        flood_per_s: float = FLOOD_PER_S,
    ) -> None:
        self.dropped: Counter[DropReason] = Counter()
        self._format = format
        self._media = MediaShape(format)
        self._is_started = is_started
        self._on_drop = on_drop
        self._burst = float(flood_burst)
        self._per_s = flood_per_s
        self._budget = float(flood_burst)
        self._refilled_at: float | None = None

    def read(self, frame: str | bytes, now: float) -> Event | None:
        """The event of a frame, or None if it was dropped."""
        if not self._spend(now):
            self.drop(DropReason.FLOOD)
            return None
        if self._is_started and (media := self._media.read(frame)) is not None:  # nearly every message
            return media
        try:
            event = parse_event(frame, self._format)
        except MessageDropped as dropped:
            self.drop(dropped.reason)
            return None
        if isinstance(event, StreamStarted):
            self._is_started = True
        elif not self._is_started:
            self.drop(DropReason.OUT_OF_ORDER)
            return None
        elif isinstance(event, MediaReceived):
            self._media.learn(frame, event)
        return event

    def drop(self, reason: DropReason) -> None:
        """Count a message as dropped; also for whoever reads on and cannot use an event."""
        self.dropped[reason] += 1
        if self._on_drop is not None:
            self._on_drop(reason)

    def _spend(self, now: float) -> bool:
        """Take one message out of the budget, if there is one left."""
        if self._refilled_at is not None and now > self._refilled_at:
            budget = self._budget + (now - self._refilled_at) * self._per_s
            self._budget = self._burst if budget > self._burst else budget
        self._refilled_at = now
        if self._budget < 1.0:
            return False
        self._budget -= 1.0
        return True
