"""What the carrier has still to play, as a clock: the sender's estimate, and the simulated carrier's truth.

The carrier queues audio and plays it in real time. So the queue is one number, the moment at which it runs dry;
audio that comes later than that moment has left a gap. Times are seconds on any clock that never goes back.
"""


class Playout:
    """A playout queue that waits `prebuffer_s` before it plays into silence."""

    def __init__(self, prebuffer_s: float = 0.0) -> None:
        self._prebuffer_s = prebuffer_s
        self._begins_at = float("-inf")  # of the audio that has no gap up to dry_at
        self._dry_at = float("-inf")
        self._keep_until = float("-inf")

    @property
    def dry_at(self) -> float:
        """When all audio sent so far will have been played: when a checkpoint sent now is reached."""
        return self._dry_at

    def sent(self, duration_s: float, now: float, *, keep: bool = False) -> float:
        """Queue audio; returns when it begins to be heard. `keep` marks audio that must not be cleared."""
        begins_at = self._dry_at
        if begins_at <= now:
            begins_at = self._begins_at = now + self._prebuffer_s
        self._dry_at = begins_at + duration_s
        if keep:
            self._keep_until = self._dry_at
        return begins_at

    def cleared(self, now: float) -> float:
        """Drop what is not yet played; returns how much that was, in seconds."""
        unplayed_s = self.unplayed_s(now)
        self._dry_at = min(self._dry_at, now)
        self._keep_until = min(self._keep_until, now)
        return unplayed_s

    def unplayed_s(self, now: float) -> float:
        """How much audio is queued, in seconds."""
        return max(0.0, self._dry_at - max(now, self._begins_at))

    def is_keeping(self, now: float) -> bool:
        """Whether audio that must not be cleared is queued."""
        return self._keep_until > now
