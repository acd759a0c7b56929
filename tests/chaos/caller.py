"""One caller: says who it is, later asks whether the bot still knows, and says goodbye.

What it hears decides: the voice of its own number (the bot knows from the conversation), a stranger's voice (the bot
never heard of it), the busy prompt, or nothing. Nobody but the caller knows its number: a bot that lost the
conversation has no way to guess it.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import uuid4

from shared.carrier.call import place_call
from shared.carrier.plan import Ask, CallPlan, HangUp, Knobs, Say, Step, Wait, WaitFor, WaitForBot
from shared.carrier.report import CallOutcome, CallReport
from tests.fakes.tones import APOLOGY, BUSY, CALLERS, HOLD, NOBODY, STORY, STRANGER, caller_speech, heard_voices

ENOUGH_S = 0.2  # of a voice, whole windows of it only
SPEECH_S = 0.9
DEFAULT_NUMBER = "+918047000000"
POISONOUS_S = 90  # a call that kills its workers is over by then
QUIET_S = 0.4


class Verdict(StrEnum):
    """What became of a call, as its caller saw it."""

    COMPLETED = "completed"  # every question was answered rightly, and it ended as the caller wished
    REFUSED = "refused"  # by policy: a status, or the busy message
    CONVICTED = "convicted"  # a poisonous one: an apology, and then it was over
    DROPPED = "dropped"  # anything else


class Knowledge(StrEnum):
    """What the bot's answer to "which caller am I" shows."""

    KNOWN = "known"
    STRANGE = "strange"


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a caller behaves, and what the carrier does to it."""

    hears_story: bool = False  # at the gate the bot speaks; else both are silent
    knobs: Knobs = field(default_factory=Knobs)
    ends: str = "goodbye"  # or "hangup"
    tries: int = 3  # how often a question is asked until it is answered
    asks: int = 1  # how often it asks who it is, with a pause between
    asks_twice: bool = False  # the answer webhook is asked at both URLs beforehand
    may_be_lost: bool = False  # the scene cuts it off for good: a loss is no broken promise
    dials: str = DEFAULT_NUMBER
    is_poisonous: bool = False  # its bot kills its workers: the caller says nothing, and waits for what comes


@dataclass
class Caller:
    """One call, from its plan to its verdict."""

    number: int  # of its voice
    scene: str
    path: str
    manner: Manner
    gate: Callable[[], bool]
    call_id: str = field(default_factory=lambda: f"chaos-{uuid4().hex[:12]}")
    report: CallReport = field(default_factory=CallReport)
    heard: list[Knowledge] = field(default_factory=list)
    heard_at_ms: list[int] = field(default_factory=list)  # Unix ms, of each
    is_known: bool = False  # the bot has answered to its name
    is_at_gate: bool = False
    fault_at_ms: int = 0  # the signal, if its session was hit
    has_ended: bool = False
    is_judged: bool = False  # what it heard is known, a moment later
    voices: dict[int, float] = field(default_factory=dict)

    @property
    def from_number(self) -> str:
        """A number of its own, which no log may hold."""
        return f"+9198{int(self.call_id[-12:], 16) % 10**8:08d}"

    # -- what it does

    async def call(self, urls: Any) -> None:
        plan = CallPlan(
            answer_url=urls.answer,
            fallback_url=urls.fallback,
            hangup_url=urls.hangup,
            call_uuid=self.call_id,
            from_number=self.from_number,
            to_number=self.manner.dials,
            steps=() if self.manner.is_poisonous else self._steps(),
            knobs=self.manner.knobs,
            keep_audio=True,
            max_s=POISONOUS_S if self.manner.is_poisonous else 150,
        )
        self.report = await place_call(plan)
        self.has_ended = True
        # Off the event loop that all callers share: a minute of audio is some ten milliseconds of work.
        self.voices = await asyncio.to_thread(voices_in, self.report.heard_pcm, self.report.sample_rate or 8000)
        self.report.heard_pcm = b""
        self.is_judged = True

    def _steps(self) -> tuple[Step, ...]:
        steps: list[Step] = [WaitForBot(quiet_s=QUIET_S, limit_s=15), self._ask("", self._is_greeted)]
        if self.manner.hears_story:
            steps += [Say("bedtime", pcm=speech(self.number, "bedtime")), Wait(1.0)]
        steps.append(WaitFor(self._waits_at_gate, limit_s=90))
        for round in range(self.manner.asks):
            steps += [Wait(random.Random(self.call_id).uniform(0.5, 4)) for _ in range(min(1, round))]
            steps.append(self._ask("who", self._is_told))
        if self.manner.ends == "goodbye":
            # nothing is the answer: it is over when the bot hangs up
            steps.append(self._ask("goodbye", lambda pcm, rate: False, quiet_s=4))
        return (*steps, HangUp())

    def _ask(self, intent: str, is_answer: Callable[[bytes, int], bool], quiet_s: float = QUIET_S) -> Ask:
        return Ask(
            intent or "who I am",
            pcm=speech(self.number, intent),
            is_answer=is_answer,
            quiet_s=quiet_s,
            answer_s=6,
            tries=self.manner.tries,
        )

    def _waits_at_gate(self) -> bool:
        self.is_at_gate = True
        return self.gate()

    # -- what it hears

    def _is_greeted(self, pcm: bytes, rate: int) -> bool:
        self.is_known = self.is_known or voices_in(pcm, rate).get(self.number, 0) >= ENOUGH_S
        return self.is_known

    def _is_told(self, pcm: bytes, rate: int) -> bool:
        voices = voices_in(pcm, rate)
        for voice, knowledge in ((self.number, Knowledge.KNOWN), (STRANGER, Knowledge.STRANGE)):
            if voices.get(voice, 0) >= ENOUGH_S:
                self.heard.append(knowledge)
                self.heard_at_ms.append(time.time_ns() // 1_000_000)
                return True
        return False

    # -- the verdict

    @property
    def verdict(self) -> Verdict:
        if self.manner.is_poisonous and not self.why_dropped:
            return Verdict.CONVICTED
        if self.is_refused:
            return Verdict.REFUSED
        return Verdict.DROPPED if self.why_dropped else Verdict.COMPLETED

    @property
    def is_refused(self) -> bool:
        if self.report.outcome is CallOutcome.REFUSED:
            return True
        bots = [voice for voice in self.voices if voice in (NOBODY, STRANGER, STORY) or voice >= 0]
        prompted = self.voices.get(BUSY, 0) + self.voices.get(HOLD, 0) >= ENOUGH_S
        return prompted and not bots and self.report.ended_by == "bot"

    @property
    def why_dropped(self) -> str:
        """Why the call was no success; empty if it was one."""
        report = self.report
        if self.manner.is_poisonous:
            heard_s = self.voices.get(APOLOGY, 0)
            if heard_s >= ENOUGH_S and report.ended_by == "bot":
                return ""
            return f"poisonous: {heard_s:g} s of the apology, ended by {report.ended_by or 'nobody'}"
        if report.outcome is not CallOutcome.COMPLETED:
            return "; ".join(report.errors) or f"ended by {report.ended_by or 'nobody'}"
        if not self.is_known and Knowledge.KNOWN not in self.heard:  # the first answer may be cut short by a fault
            return "the bot never answered"
        if len(self.heard) < self.manner.asks:
            return "a question was not answered"
        if report.ended_by != ("bot" if self.manner.ends == "goodbye" else "caller"):
            return f"ended by the {report.ended_by}"
        others = {voice: seconds for voice, seconds in self.voices.items() if voice >= 0 and voice != self.number}
        # a tone that is cut by each of many deaths sounds a little like its neighbours; an answer is half a second long
        strangers = [v for v, seconds in others.items() if seconds > (0.35 if abs(v - self.number) == 1 else 0.15)]
        return f"heard voices of others beside that of caller {self.number}: {others}" if strangers else ""

    @property
    def is_resumed(self) -> bool | None:
        """Whether the conversation outlived the loss of its session; None: there was none, or nobody asked after it."""
        since = [what for what, at_ms in zip(self.heard, self.heard_at_ms, strict=True) if at_ms > self.fault_at_ms]
        if Knowledge.STRANGE in since:
            return False
        return True if since and self.fault_at_ms else None

    @property
    def gap_ms(self) -> float | None:
        """From the fault to the first sound of another session, at the caller's ear."""
        if not self.fault_at_ms or not self.report.started_at_ms:
            return None
        fault_ms = self.fault_at_ms - self.report.started_at_ms
        # only a bot that was speaking has something on its way
        in_flight_ms = IN_FLIGHT_MS if self.manner.hears_story else 0
        after = [start for start, _ in self.report.sounds_ms if start > fault_ms + in_flight_ms]
        return round(min(after) - fault_ms, 1) if after else None

    def longest_silence_ms(self, from_ms: int, to_ms: int) -> float:
        """The longest that nothing was heard between two wall times."""
        begin, end = from_ms - self.report.started_at_ms, to_ms - self.report.started_at_ms
        heard_to, longest = float(begin), 0.0
        for start, stop in self.report.sounds_ms:
            if stop > begin and start < end:
                longest, heard_to = max(longest, start - heard_to), max(heard_to, stop)
        return max(longest, end - heard_to)

    def to_dict(self) -> dict[str, Any]:
        return {
            "call_id": self.call_id,
            "scene": self.scene,
            "path": self.path,
            "verdict": str(self.verdict),
            "why": self.why_dropped if self.verdict is Verdict.DROPPED else "",
            "heard": [str(one) for one in self.heard],
            "voice": self.number,
            "voices": self.voices,
            "ended_by": self.report.ended_by,
            "statuses": [self.report.webhook_status, self.report.fallback_status, self.report.upgrade_status],
            "hit": bool(self.fault_at_ms),
            "gap_ms": self.gap_ms,
            "reconnects": self.report.reconnects,
            "lag_ms": self.report.lag_ms,
        }


def voices_in(pcm: bytes, rate: int) -> dict[int, float]:
    return heard_voices(pcm, rate, is_steady=True)


IN_FLIGHT_MS = 150  # what begins sooner was on its way from the old session


def speech(number: int, intent: str) -> bytes:
    """What a caller says, shorter than tests of speech itself need it."""
    return caller_speech(number % CALLERS, intent, seconds=SPEECH_S)
