"""The carrier's playout buffer: where it ran dry inside what the bot was saying. Pure; time is a parameter.

Into silence the carrier plays after `prebuffer_s`. Of what it hears of a stall it is the kinder of two models: one that
plays as soon as it has that much audio would hear a break in every longer chunk that is late.

A break counts as an underrun if the bot goes on within `SAME_UTTERANCE_S`, was not cleared and was not asked anything
meanwhile: else it has only begun to say something else.
"""

SAME_UTTERANCE_S = 1.0


class CarrierPlayout:
    """One call's."""

    def __init__(self, prebuffer_s: float) -> None:
        self.underruns: list[float] = []  # when the audio came that was late
        self._prebuffer_s = prebuffer_s
        self._dry_at = float("-inf")
        self._is_complete = True  # what was said before is no longer being said

    @property
    def dry_at(self) -> float:
        """When all audio so far will have been played."""
        return self._dry_at

    def is_audible(self, now: float) -> bool:
        """Whether there is anything left to play."""
        return now < self._dry_at

    def receive(self, seconds: float, now: float) -> None:
        """Audio has come."""
        if now > self._dry_at:
            if not self._is_complete and now - self._dry_at <= SAME_UTTERANCE_S:
                self.underruns.append(now)
            self._dry_at = now + self._prebuffer_s
        self._dry_at += seconds
        self._is_complete = False

    def clear(self, now: float) -> None:
        """What is not yet played is dropped."""
        self._dry_at = min(self._dry_at, now)
        self._is_complete = True

    def asked(self, now: float) -> None:
        """The caller has finished speaking: what comes once the buffer is dry is an answer."""
        if not self.is_audible(now):
            self._is_complete = True
