"""Who spoke when, as figures: how long a caller waits for an answer, how fast an interruption is obeyed.

Pure: told what happened and when (seconds of one clock), answers with figures. Loudness stands for words, since
a caller's words are known only after they were recognised.
"""

from dataclasses import dataclass, field

LOUD_RMS = 500  # of 16-bit audio: well above a telephone line's noise, well below speech
PAUSE_S = 0.3  # a pause within speech; a longer one ends it
LONGEST_TURN_S = 30.0  # what takes longer is not the answer to what the caller said


@dataclass(frozen=True, slots=True)
class Turn:
    """From the caller's last word to the bot's first, in seconds; stages that were not seen are left out."""

    total_s: float
    stages: dict[str, float] = field(default_factory=dict)


class Turns:
    """The caller's and the bot's turns of one call."""

    def __init__(self) -> None:
        self._loud_since: float | None = None
        self._loud_at: float | None = None
        self._bot_since: float | None = None
        self._bot_at: float | None = None
        self._last_word_at: float | None = None  # set: the caller waits for an answer
        self._transcribed_at: float | None = None
        self._llm_at: float | None = None
        self._tts_at: float | None = None

    def caller_was_loud(self, now: float) -> None:
        if self._loud_at is None or now - self._loud_at > PAUSE_S:
            self._loud_since = now
        self._loud_at = now

    @property
    def loud(self) -> tuple[float, float]:
        """From when to when the caller was loud, last."""
        return self._loud_since or 0.0, self._loud_at or 0.0

    def caller_transcribed(self, now: float) -> None:
        """Final text of what the caller said."""
        self._last_word_at = self._loud_at
        self._transcribed_at, self._llm_at, self._tts_at = now, None, None

    def llm_spoke(self, now: float) -> None:
        if self._llm_at is None:
            self._llm_at = now

    def tts_spoke(self, now: float) -> None:
        if self._tts_at is None:
            self._tts_at = now

    def bot_heard(self, now: float) -> Turn | None:
        """Audio left for the caller; the turn that it ends, if it is the first of an answer."""
        if self._bot_at is None or now - self._bot_at > PAUSE_S:
            self._bot_since = now
        self._bot_at = now
        last_word_at = self._last_word_at
        if last_word_at is None or self._tts_at is None:
            return None
        turn = Turn(now - last_word_at, self._stages(last_word_at))
        self._last_word_at = None
        return turn if turn.total_s <= LONGEST_TURN_S else None

    def _stages(self, last_word_at: float) -> dict[str, float]:
        marks = [("stt", self._transcribed_at), ("llm", self._llm_at), ("tts", self._tts_at)]
        stages, before = {}, last_word_at
        for name, at in marks:
            if at is not None:
                stages[name] = max(0.0, at - before)
                before = at
        return stages

    def interrupted(self, now: float) -> float | None:
        """The bot was cut short: how long after the caller's first loud frame; None if no caller was heard."""
        self._bot_at = None
        if self._loud_since is None or self._loud_at is None or now - self._loud_at > 1.0:
            return None
        return now - max(self._loud_since, self._bot_since or self._loud_since)
