"""The first second of a call: people say "hello?" as they pick up, and must not thereby silence the greeting."""

import time
from collections.abc import Callable

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ErrorFrame,
    Frame,
    UserSpeakingFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.turns.user_mute import BaseUserMuteStrategy

DEAF_S = 1.2  # of the greeting; who still speaks then wants to be heard
PATIENCE_S = 3.0  # for a greeting that does not come
WORDS_S = 1.5  # after speech: its words are recognised by then, or never


class MuteAtPickUpStrategy(BaseUserMuteStrategy):
    """Does not hear the caller until the bot has spoken for a moment. After that the greeting can be interrupted.

    Words come later than the sound of them: those of a "hello?" that was not heard are not heard either.
    Pipecat's own `MuteUntilFirstBotComplete` would make the caller hear the whole greeting at every call.
    """

    def __init__(
        self, deaf_s: float = DEAF_S, patience_s: float = PATIENCE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._deaf_s = deaf_s
        self._patience_s = patience_s
        self._clock = clock
        self._hears_at: float | None = None
        self._words_by = 0.0  # of what was said so far
        self._is_over = False

    async def process_frame(self, frame: Frame) -> bool:
        """Asked at every frame, audio included: is the caller muted now?"""
        await super().process_frame(frame)
        if self._is_over:
            return False
        now = self._clock()
        if self._hears_at is None:
            self._hears_at = now + self._patience_s
        if isinstance(frame, BotStartedSpeakingFrame):
            self._hears_at = now + self._deaf_s
        is_speaking = isinstance(frame, UserSpeakingFrame | VADUserStartedSpeakingFrame)
        hears = now >= self._hears_at and (is_speaking or now >= self._words_by)
        if is_speaking:
            self._words_by = now + WORDS_S
        self._is_over = hears or isinstance(frame, BotStoppedSpeakingFrame | ErrorFrame)
        return not self._is_over
