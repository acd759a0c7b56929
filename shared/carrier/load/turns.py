"""The caller's turns: was each answered, how soon, and was each interruption obeyed? Pure; time is a parameter.

A turn that begins while the bot is audible is an interruption: clearAudio is expected. If the bot had anyhow finished
within `MOOT_S`, there was nothing to obey. The first audio after the turn's end is its answer, but for what the bot was
still saying before: that ends with a clear, or by itself. What comes right behind a clear belongs to what was
cleared: it should not have been sent, and is counted.
"""

from dataclasses import dataclass

MOOT_S = 0.5
AFTER_CLEAR_S = 0.25


@dataclass(slots=True)
class Turn:
    """One utterance of the caller, and what came of it. Times as of one monotonic clock."""

    began_at: float
    is_interruption: bool
    ended_at: float | None = None
    silent_at: float | None = None  # when the bot, not cleared, had said what it was saying
    cleared_at: float | None = None
    answered_at: float | None = None
    sent_after_clear: int = 0  # pieces of audio

    @property
    def is_moot(self) -> bool:
        """An interruption of something that was over anyhow."""
        silent = self.silent_at
        return (
            self.is_interruption and self.cleared_at is None and silent is not None and silent - self.began_at < MOOT_S
        )

    @property
    def is_obeyed(self) -> bool | None:
        """None where there was nothing to obey."""
        return None if not self.is_interruption or self.is_moot else self.cleared_at is not None

    @property
    def clear_s(self) -> float | None:
        """From the first loud frame to clearAudio."""
        return self.cleared_at - self.began_at if self.is_interruption and self.cleared_at is not None else None

    @property
    def is_premature(self) -> bool:
        """The bot answered while the caller still spoke."""
        return self.answered_at is not None and (self.ended_at is None or self.answered_at < self.ended_at)

    @property
    def response_s(self) -> float | None:
        """From the last loud frame to the first audio of the answer."""
        if self.answered_at is None or self.ended_at is None or self.is_premature:
            return None
        return self.answered_at - self.ended_at


class Turns:
    """A call's turns, as they happen."""

    def __init__(self) -> None:
        self.past: list[Turn] = []
        self._now: Turn | None = None

    @property
    def all(self) -> list[Turn]:
        """The one that is not over included."""
        return [*self.past, self._now] if self._now else self.past

    def began(self, now: float, *, bot_is_audible: bool) -> None:
        """The first loud frame of an utterance has been sent."""
        if self._now:
            self.past.append(self._now)
        self._now = Turn(now, bot_is_audible)

    def ended(self, now: float) -> None:
        """The last loud frame has been sent."""
        if self._now:
            self._now.ended_at = now

    def fell_silent(self, at: float) -> None:
        """What the bot was saying has been played to its end."""
        turn = self._now
        if turn and turn.cleared_at is None and turn.silent_at is None and at >= turn.began_at:
            turn.silent_at = at

    def cleared(self, now: float) -> None:
        turn = self._now
        if turn and turn.is_interruption and turn.cleared_at is None and turn.silent_at is None:
            turn.cleared_at = now

    def audio(self, now: float) -> None:
        """The bot has sent something."""
        turn = self._now
        if turn is None or turn.answered_at is not None:
            return
        if turn.cleared_at is not None and turn.ended_at is None and now - turn.cleared_at < AFTER_CLEAR_S:
            turn.sent_after_clear += 1
        elif not turn.is_interruption or turn.cleared_at is not None or turn.silent_at is not None:
            turn.answered_at = now
