"""The caller: performs the steps of a plan, one action per 20 ms, and listens to the bot. Pure; time is a parameter.

A generator is the machine: it yields the payload of each frame, and between frames the keys pressed and the end.
"""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from shared.carrier.audio import loud_frames, resample
from shared.carrier.events import EventKind
from shared.carrier.heard import Ear
from shared.carrier.plan import Ask, HangUp, InterruptAfter, Press, Say, Step, Wait, WaitFor, WaitForBot
from shared.carrier.report import Turn
from shared.sfvopi.formats import AudioFormat
from shared.sfvopi.g711 import encode

TALKING_S = 1.0  # a bot whose last sound is no older than this is in the middle of its speech
SILENT = ""  # the payload of a frame in which the caller says nothing

Action = str | Press | HangUp
Tell = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Utterance:
    """Speech cut into frames, encoded beforehand. Frames [loud_from, loud_to) are heard."""

    text: str
    payloads: tuple[str, ...]
    loud_from: int
    loud_to: int


def prepare(say: Say, pcm: bytes, rate: int, format: AudioFormat) -> Utterance:
    """Cut and encode speech (16-bit, at `rate`) for a stream in `format`."""
    pcm = resample(pcm, rate, format.sample_rate)
    size = format.sample_rate // 50 * 2
    pcm += bytes(-len(pcm) % size)
    payloads = tuple(encode_payload(pcm[at : at + size], format) for at in range(0, len(pcm), size))
    return Utterance(say.text, payloads, *loud_frames(pcm, format.sample_rate))


def encode_payload(pcm: bytes, format: AudioFormat) -> str:
    """PCM as it stands in a `media` message."""
    return base64.b64encode(encode(pcm, format)).decode("ascii")


class Script:
    """The steps, being performed. `next_action(now)` is called until it gives a payload, once per frame."""

    def __init__(self, steps: Sequence[Step], utterances: Sequence[Utterance], ear: Ear, tell: Tell) -> None:
        self.turns: list[Turn] = []
        self.barged_in_at: float | None = None  # an interruption that the bot has not yet answered
        self.notes: list[str] = []
        self.errors: list[str] = []
        self.steps_left = len(steps)
        self._ear = ear
        self._tell = tell
        self._now = 0.0
        self._actions = self._perform(steps, iter(utterances))

    def next_action(self, now: float) -> Action:
        """A payload (SILENT: none), a key, or the end; times are seconds after `start`."""
        self._now = now
        return next(self._actions)

    def _perform(self, steps: Sequence[Step], utterances: Iterator[Utterance]) -> Iterator[Action]:
        for step in steps:
            match step:
                case Ask():
                    yield from self._ask(step, next(utterances))
                case Say():
                    yield from self._say(next(utterances))
                case WaitFor(is_so, limit_s):
                    until = self._now + limit_s
                    while self._now < until and not is_so():
                        yield SILENT
                case Wait(s):
                    until = self._now + s
                    while self._now < until:
                        yield SILENT
                case WaitForBot():
                    yield from self._wait_for_bot(step)
                case InterruptAfter():
                    yield from self._wait_to_interrupt(step)
                case Press():
                    yield step
                case HangUp():
                    self.steps_left -= 1  # whoever is told this does not come back
                    yield step
                    return
            self.steps_left -= 1
        while True:
            yield SILENT

    def _say(self, utterance: Utterance) -> Iterator[Action]:
        turn = None
        for n, payload in enumerate(utterance.payloads):
            if n == utterance.loud_from and n < utterance.loud_to:
                turn = self._begin_turn(utterance.text)
            if turn and n == utterance.loud_to - 1:
                turn.to_ms = round(self._now * 1000, 1)
                self._tell(EventKind.CALLER_QUIET)
            yield payload

    def _ask(self, step: Ask, utterance: Utterance) -> Iterator[Action]:
        for _ in range(step.tries):
            yield from self._say(utterance)
            asked = self._now
            while self._now - asked < step.answer_s or self._ear.unplayed_s(self._now):
                last = self._ear.last_sound_at(self._now)
                if last is not None and last > asked and self._now - last >= step.quiet_s:
                    if step.is_answer is None or step.is_answer(self._ear.pcm(asked), self._ear.rate):
                        return
                    break
                yield SILENT
        self.errors.append(f"no answer to {utterance.text!r}" + (f", asked {step.tries} times" * (step.tries > 1)))

    def _begin_turn(self, text: str) -> Turn:
        turn = Turn(text, from_ms=round(self._now * 1000, 1), is_interruption=self._is_bot_talking())
        if turn.is_interruption:
            self.barged_in_at = self._now
        self.turns.append(turn)
        self._tell(EventKind.CALLER_SPEAKING, text=text, is_interruption=turn.is_interruption)
        return turn

    def _wait_for_bot(self, step: WaitForBot) -> Iterator[Action]:
        began = self._now
        while self._now - began < step.limit_s:
            last = self._ear.last_sound_at(self._now)
            if last is not None and last > began and self._now - last >= step.quiet_s:
                return
            yield SILENT
        if self._ear.first_sound_at(began, self._now) is None:
            self.errors.append(f"the bot said nothing for {step.limit_s:g} s")
        else:
            self.notes.append(f"the bot was not quiet within {step.limit_s:g} s")

    def _wait_to_interrupt(self, step: InterruptAfter) -> Iterator[Action]:
        began = self._now
        while self._now - began < step.limit_s:
            first = self._ear.first_sound_at(began, self._now)
            if first is not None:
                if not self._is_bot_talking() and self._is_bot_quiet():
                    self.notes.append(f"the bot spoke for less than {step.s:g} s: there was nothing to interrupt")
                    return
                if self._now - first >= step.s and self._is_bot_talking():
                    return
            yield SILENT
        self.errors.append(f"the bot did not speak for {step.s:g} s within {step.limit_s:g} s")

    def _is_bot_talking(self) -> bool:
        return self._ear.unplayed_s(self._now) > 0 and not self._is_bot_quiet()

    def _is_bot_quiet(self) -> bool:
        last = self._ear.last_sound_at(self._now)
        return last is None or self._now - last > TALKING_S
