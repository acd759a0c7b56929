"""Is a call to be given up for a provider? What fails, what the caller is doing, a verdict out. Pure.

Theory of operation. One error is no verdict: services reconnect, answers come late, and most errors are of something
that nobody waits for. So an error is counted and noted, and ends nothing by itself. A call is given up only for a
trouble that the *caller* has: they wait for what has failed, and nothing is said, queued or on its way to them.

What the caller is doing follows from what is heard and seen, latest first:

    speaks        their voice is detected
    listens       the bot speaks, or has sound queued
    holds         a tool runs, the model answers, or the voice was given words
    unheard       they spoke last, no text came of it, and the recogniser is in trouble
    has the turn  the bot has answered (or greeted): the next word is the caller's
    waits         their turn is over and was understood
    greeting      nothing was ever said, by nobody

What was last understood of the caller begins a *wait*; the answer's sound settles it. A model that was asked and gave
nothing leaves it open, though a filler was heard. What failed belongs to the wait in which it was asked: the next one
begins with a clean slate, but for a service that can do no more work (`dead`): that lasts until it gives a result.

The table has a row for each trouble and a column for each thing that a caller may be doing. A cell is how long nothing
may happen, from the last thing that did, before the call is given up; `note` is for ever. The three rows of `note`
only are why most errors end nothing: another service of a ServiceSwitcher stands in, Pipecat has recovered (a new
connection; a service in use again), or nobody had asked the failed service for anything that matters to this answer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

ONE_CAUSE_S = 1.0  # errors of one service that come so soon after each other are one
SHORTEST_SPEECH_S = 0.3  # of loudness, where nothing detects speech
PAUSE_S = 0.5  # of loudness, likewise: a longer one ends it
NEVER = float("-inf")


class Service(StrEnum):
    """What a provider does for a bot."""

    STT = "stt"
    LLM = "llm"
    TTS = "tts"


class Doing(StrEnum):
    """What the caller is doing."""

    SPEAKS = "speaks"
    LISTENS = "listens"
    HOLDS = "holds"
    UNHEARD = "unheard"
    HAS_THE_TURN = "has_the_turn"
    WAITS = "waits"
    GREETING = "greeting"


class Trouble(StrEnum):
    """What has failed; `dead`: it says itself that it can do no more work."""

    RECOGNISER = "recogniser"
    RECOGNISER_DEAD = "recogniser_dead"
    MODEL = "model"
    MODEL_DEAD = "model_dead"
    VOICE = "voice"
    VOICE_DEAD = "voice_dead"
    SPEECH = "speech"
    SPEECH_DEAD = "speech_dead"
    COVERED = "covered"
    RECOVERED = "recovered"
    BACKGROUND = "background"


class Wait(StrEnum):
    """How long nothing may happen."""

    NOTE = "note"  # the error is counted and noted, and ends nothing
    ANSWER = "answer"  # SFVOPI_PROVIDER_PATIENCE_S
    GREETING = "greeting"  # SFVOPI_GREETING_PATIENCE_S
    CERTAIN = "certain"  # for the bot's own handler to say something: waiting longer changes nothing


N, A, G, C = Wait.NOTE, Wait.ANSWER, Wait.GREETING, Wait.CERTAIN
TABLE: dict[Trouble, dict[Doing, Wait]] = {
    trouble: dict(zip(Doing, cells, strict=True))
    for trouble, cells in {
        #                        speaks listens holds unheard turn waits greeting
        Trouble.RECOGNISER: (N, N, N, A, N, N, N),
        Trouble.RECOGNISER_DEAD: (N, N, N, C, N, N, N),
        Trouble.MODEL: (N, N, N, N, N, A, G),
        Trouble.MODEL_DEAD: (N, N, N, N, N, C, C),
        Trouble.VOICE: (N, N, N, N, N, A, G),
        Trouble.VOICE_DEAD: (N, N, N, N, N, C, C),
        Trouble.SPEECH: (N, N, N, A, N, A, G),
        Trouble.SPEECH_DEAD: (N, N, N, C, N, C, C),
        Trouble.COVERED: (N, N, N, N, N, N, N),
        Trouble.RECOVERED: (N, N, N, N, N, N, N),
        Trouble.BACKGROUND: (N, N, N, N, N, N, N),
    }.items()
}
TROUBLES: dict[Service, tuple[Trouble, Trouble]] = {  # for now, and dead
    Service.STT: (Trouble.RECOGNISER, Trouble.RECOGNISER_DEAD),
    Service.LLM: (Trouble.MODEL, Trouble.MODEL_DEAD),
    Service.TTS: (Trouble.VOICE, Trouble.VOICE_DEAD),
}


@dataclass(frozen=True, slots=True)
class Patience:
    """The settings, in seconds."""

    answer_s: float = 5.0
    greeting_s: float = 10.0
    certain_s: float = 1.0

    def of(self, wait: Wait) -> float:
        match wait:
            case Wait.ANSWER:
                return self.answer_s
            case Wait.GREETING:
                return self.greeting_s
            case Wait.CERTAIN:
                return min(self.certain_s, self.answer_s)
            case Wait.NOTE:
                return float("inf")


USUAL = Patience()


def _no() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Failure:
    """One error of a provider. What may change afterwards is asked when a verdict is due."""

    provider: str
    fault: str
    service: Service
    source: str = ""  # the service that failed: a bot may have several of a kind
    is_dead: bool = False
    hears: bool = False  # a model in a pipeline without recognition: it hears, and may speak, by itself
    ends_pipeline: bool = False  # Pipecat itself ends the pipeline for it
    exception: BaseException | None = field(default=None, compare=False)
    is_covered: Callable[[], bool] = field(default=_no, compare=False)  # another service stands in
    is_recovered: Callable[[], bool] = field(default=_no, compare=False)


@dataclass(slots=True)
class _Cause:
    """A failure and what followed from it."""

    failure: Failure
    at: float
    last_at: float
    reports: int = 1


@dataclass(slots=True)
class _Model:
    """What a language model did in this wait."""

    asked_at: float = NEVER
    is_answering: bool = False
    gave: bool = False
    is_fine: bool = False  # it has come to an end without failing


class ProviderHealth:
    """The providers of one call, and what its caller waits for."""

    def __init__(self, patience: Patience = USUAL) -> None:
        self._patience = patience
        self._causes: dict[str, _Cause] = {}
        self._models: dict[str, _Model] = {}
        self._tools: set[str] = set()
        self._happened_at = NEVER  # the last thing from which patience counts
        self._understood_at = NEVER
        self._spoke_at = NEVER  # when the caller began to speak, last
        self._stopped_at = NEVER
        self._is_speaking = False
        self._is_muted = False
        self._detects_speech = False
        self._words_at = NEVER  # given to the voice
        self._voice = ""  # to which one
        self._soundless_at = NEVER  # a text without a letter or a figure was: an emoji, "..."
        self._sound_at = NEVER
        self._said_until = NEVER
        self._is_settled = False
        self.recogniser_gone: Callable[[], Failure | None] = lambda: None

    # -- the caller

    def began(self, now: float) -> None:
        """A stream is there, for the first time or again."""
        self._happened_at = now

    def caller_spoke(self, now: float) -> None:
        self._detects_speech = True
        if not self._is_muted and not self._is_speaking:
            self._is_speaking, self._spoke_at = True, now

    def caller_stopped(self, now: float) -> None:
        if self._is_speaking:
            self._is_speaking, self._stopped_at = False, now

    def caller_muted(self, is_muted: bool) -> None:
        """What they say meanwhile is not to be heard."""
        self._is_muted = is_muted
        self._is_speaking &= not is_muted

    def caller_was_loud(self, since: float, until: float) -> None:
        """All that is known of speech where nothing detects it."""
        if not self._detects_speech and until - since >= SHORTEST_SPEECH_S and not self._is_muted:
            self._spoke_at, self._stopped_at = since, until + PAUSE_S

    def caller_understood(self, now: float) -> None:
        """What they said is known, or is with the model: they wait for the answer."""
        self.hears()
        self._understood_at = self._happened_at = now
        self._is_settled = False
        self._forget(lambda _: True)
        for model in self._models.values():
            model.gave = model.is_fine = False

    # -- what is under way

    def hears(self) -> None:
        """Text came, if only for the time being."""
        if self._causes:
            self._forget(lambda failure: failure.service is Service.STT)

    def model_asked(self, source: str, now: float) -> None:
        self._models[source] = _Model(now, is_answering=True)

    def model_gave(self, source: str) -> None:
        self._models.setdefault(source, _Model()).gave = True
        self._causes.pop(source, None)

    def model_done(self, source: str, now: float) -> None:
        model = self._models.get(source)
        if model is not None and model.is_answering:
            model.is_answering, self._happened_at = False, now
            model.is_fine = source not in self._causes

    def tool_began(self, call: str) -> None:
        self._tools.add(call)

    def tool_ended(self, call: str, now: float) -> None:
        self._tools.discard(call)
        self._happened_at = now

    def words_given(self, text: str, now: float, voice: str = "") -> None:
        """To this voice. What has no letter and no figure makes no sound, and its error is nobody's trouble."""
        if any(letter.isalnum() for letter in text):
            self._words_at, self._voice = now, voice
        elif text.strip():
            self._soundless_at = now

    def sound_came(self, seconds: float, now: float) -> None:
        """Sound of the bot's speech is on its way to the caller."""
        self._sound_at = now
        self._said_until = max(self._said_until, now) + seconds
        if self._causes:
            self._forget(lambda failure: failure.service is Service.TTS or failure.hears)

    def interrupted(self, now: float) -> None:
        """What was under way is not wanted any more."""
        self._said_until = min(self._said_until, now)
        self._words_at = NEVER
        for model in self._models.values():
            model.is_answering = False

    def _forget(self, is_over: Callable[[Failure], bool]) -> None:
        """What is dead comes to life again by being used again, not by another one's work."""
        for source, cause in list(self._causes.items()):
            if is_over(cause.failure) and not cause.failure.is_dead:
                del self._causes[source]

    # -- what failed

    def failed(self, failure: Failure, now: float) -> bool:
        """Whether this is a cause of its own, rather than another report of one that is known."""
        model = self._models.get(failure.source)
        if model is not None:
            model.is_answering = False
        before = self._causes.get(failure.source)
        is_new = not any(shares_cause(failure, cause.failure) for cause in self._causes.values())
        if before is not None and is_new:
            is_new = before.failure.is_recovered() or self._was_asked_again(before, now)
        if before is None or is_new:
            self._causes[failure.source] = _Cause(failure, now, now)
        else:
            self._causes[failure.source] = _Cause(_worse(before.failure, failure), before.at, now, before.reports + 1)
        return is_new

    def _was_asked_again(self, before: _Cause, now: float) -> bool:
        if now - before.last_at < ONE_CAUSE_S:
            return False
        if before.failure.service is Service.TTS:
            return self._words_at > before.last_at
        model = self._models.get(before.failure.source)
        return model is not None and model.asked_at > before.last_at

    # -- the verdict

    def doing(self, now: float) -> Doing:
        """What the caller is doing."""
        if self._is_speaking:
            return Doing.SPEAKS
        if now < self._said_until:
            return Doing.LISTENS
        if self._is_something_on_its_way():
            return Doing.HOLDS
        if self._is_unheard():
            return Doing.UNHEARD
        if self._is_answered():
            return Doing.HAS_THE_TURN
        return Doing.WAITS if max(self._understood_at, self._sound_at) > NEVER else Doing.GREETING

    def given_up(self, now: float) -> Failure | None:
        """The failure for which the call is given up, if it is time."""
        return self._verdict(now, self._patience.of)

    def ended(self, now: float, *, in_order: bool) -> Failure | None:
        """The bot has ended. Did it for a failure? `in_order`: by an EndFrame, as with a goodbye."""
        for cause in self._causes.values():
            if cause.failure.ends_pipeline and not cause.failure.is_covered():
                return cause.failure
        failure = self._verdict(now, lambda wait: float("inf") if wait is Wait.NOTE else 0.0)
        return failure if failure is None or failure.is_dead or not in_order else None

    def _verdict(self, now: float, patience_of: Callable[[Wait], float]) -> Failure | None:
        doing = self.doing(now)
        self._is_settled |= doing is Doing.HAS_THE_TURN
        for cause in self._troubles(doing):
            wait = TABLE[self._trouble_of(cause)][doing]
            since = max(self._happened_at, self._said_until, self._stopped_at, cause.at)
            if now - since >= patience_of(wait):
                return cause.failure
        return None

    def _troubles(self, doing: Doing) -> Iterator[_Cause]:
        yield from self._causes.values()
        if doing is Doing.UNHEARD and (gone := self.recogniser_gone()) is not None:
            yield _Cause(gone, self._stopped_at, self._stopped_at)

    def _trouble_of(self, cause: _Cause) -> Trouble:
        failure = cause.failure
        if failure.is_covered():
            return Trouble.COVERED
        if failure.is_recovered():
            return Trouble.RECOVERED
        if not self._is_waited_for(cause):
            return Trouble.BACKGROUND
        if failure.hears:
            return Trouble.SPEECH_DEAD if failure.is_dead else Trouble.SPEECH
        return TROUBLES[failure.service][failure.is_dead]

    def _is_waited_for(self, cause: _Cause) -> bool:
        match cause.failure.service:
            case Service.STT:
                return cause.failure.is_dead or cause.last_at >= self._spoke_at
            case Service.LLM:
                return not self._is_another_model_the_bots(cause.failure.source)
            case Service.TTS:
                is_asked = self._words_at > self._understood_at
                failed = cause.failure.is_dead or (is_asked and self._failed_on_words(cause))
                return failed and self._speaks_with(cause.failure)

    def _failed_on_words(self, cause: _Cause) -> bool:
        """Rather than on the soundless end of an answer, which is worth one report."""
        is_of_the_end = self._soundless_at > self._words_at and cause.at >= self._soundless_at and cause.reports == 1
        return cause.last_at >= self._words_at and not is_of_the_end

    def _is_another_model_the_bots(self, source: str) -> bool:
        """Whether it is another model whose answer the caller gets, or which has decided to say nothing."""
        return any(
            model.is_fine and (not model.gave or self._words_at > self._understood_at)
            for other, model in self._models.items()
            if other != source
        )

    def _is_something_on_its_way(self) -> bool:
        if self._tools or any(model.is_answering for model in self._models.values()):
            return True
        if self._words_at <= self._sound_at or self._words_at <= self._understood_at:
            return False
        voices = [cause for cause in self._causes.values() if self._speaks_with(cause.failure)]
        return not any(cause.failure.is_dead or self._failed_on_words(cause) for cause in voices)

    def _speaks_with(self, failure: Failure) -> bool:
        """Whether the bot's words went to this voice, if they went to any."""
        return failure.service is Service.TTS and self._voice in ("", failure.source)

    def _is_unheard(self) -> bool:
        if self._understood_at >= self._spoke_at or self._stopped_at <= self._said_until:
            return False
        troubles = [self._trouble_of(cause) for cause in self._causes.values()]
        if any(TABLE[trouble][Doing.UNHEARD] is not Wait.NOTE for trouble in troubles):
            return True
        return self.recogniser_gone() is not None

    def _is_answered(self) -> bool:
        if self._is_settled:
            return True
        if self._sound_at <= self._understood_at or self._sound_at == NEVER:
            return False
        models = [cause for cause in self._causes.values() if cause.failure.service is Service.LLM]
        return not any(self._leaves_the_answer_open(cause) for cause in models)

    def _leaves_the_answer_open(self, cause: _Cause) -> bool:
        """What was heard was said before it failed, and not by it: a filler, or "let me look that up".

        A greeting opens nothing: whatever fails behind it, the next word is the caller's.
        """
        if self._understood_at == NEVER:
            return False
        is_handled = cause.last_at < self._words_at < self._sound_at
        gave = cause.failure.source in self._models and self._models[cause.failure.source].gave
        return self._trouble_of(cause) in (Trouble.MODEL, Trouble.MODEL_DEAD) and not (is_handled or gave)


def _worse(first: Failure, later: Failure) -> Failure:
    """Of two reports of one cause: the first knows why, the later one whether the service can do any more."""
    why = later.fault if first.fault == "other" else first.fault
    return replace(later if later.is_dead and not first.is_dead else first, fault=why)


def shares_cause(failure: Failure, other: Failure) -> bool:
    """Whether both tell of one exception, or of what it was raised from."""
    return bool(_exceptions(failure.exception) & _exceptions(other.exception))


def _exceptions(exception: BaseException | None) -> set[int]:
    found: set[int] = set()
    while exception is not None and id(exception) not in found:
        found.add(id(exception))
        exception = exception.__cause__ or exception.__context__
    return found
