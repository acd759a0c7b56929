"""What is seen of one call: its figures, each observed once into the metrics, and its timeline.

Told by the media path and the pipeline, quickly and without I/O; whoever owns the registry takes the entries away.
Texts and digits enter the timeline only when transcripts are on.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from shared.calls.outcome import RESULT_OF, Reason, Result
from shared.calls.timeline import TimelineEvent
from shared.registry.contract import TimelineEntry
from shared.sfvopi.errors import DropReason
from shared.telemetry.catalogue import (
    BARGE_IN_SECONDS,
    BOT_CALLS,
    BOT_SECONDS,
    CALL_SECONDS,
    EARLY_HANGUPS,
    FIRST_AUDIO_SECONDS,
    FRAME_LATENESS_SECONDS,
    FRAMES_DROPPED,
    LATE_FRAMES,
    OTHER,
    PROVIDER_ERRORS,
    TURN_SECONDS,
    Metric,
)
from shared.telemetry.meter import Meter
from shared.telemetry.traces import NO_SPAN, Span
from worker.provider_health import USUAL, Failure, Patience, ProviderHealth, Service
from worker.saying import Said, Saying
from worker.tool_calls import ToolCall, shown
from worker.turns import Turn, Turns

MAX_ENTRIES = 1000  # kept for a registry that is away
LATE_S = 0.05  # from then on a frame is counted as late
EARLY_S = 10.0  # who leaves sooner, without an answer, did not like what he heard, or heard nothing
TRACED = frozenset(  # what a trace shows of the timeline; none of it is text
    {
        TimelineEvent.STREAM_STARTED,
        TimelineEvent.FIRST_AUDIO,
        TimelineEvent.INTERRUPTED,
        TimelineEvent.PROVIDER_ERROR,
        TimelineEvent.DETACHED,
        TimelineEvent.ADOPTED,
        TimelineEvent.AFRESH,
        TimelineEvent.HANDED_OVER,
        TimelineEvent.SUPERSEDED,
    }
)
LEFT = frozenset({Reason.CALLER_HUNG_UP, Reason.STREAM_CLOSED})
NOBODYS = {"bot": OTHER[0], "number_group": OTHER[0]}


class CallWatch:
    """The eyes on one call."""

    def __init__(
        self,
        meter: Meter,
        now_ms: Callable[[], int],
        source: str = "worker",
        *,
        transcripts: bool = False,
        call_id: str = "",
        whose: Mapping[str, str] = NOBODYS,
        span: Span = NO_SPAN,
        patience: Patience = USUAL,
    ) -> None:
        self.span = span
        self.health = ProviderHealth(patience)
        self.last_activity_at = time.monotonic()
        self.end_seen_at: float | None = None  # an EndFrame was on its way down the pipeline
        self.pipeline_started = asyncio.Event()
        self.conversation_changed = asyncio.Event()  # what a checkpoint would hold is not what it was
        self.idle_seen = False  # Pipecat's own idle timeout
        self.turns = Turns()
        self._meter = meter
        self._now_ms = now_ms
        self._source = source
        self._transcripts = transcripts
        self._call_id = call_id
        self._whose = whose  # bot and number group, as labels
        self._entries: list[TimelineEntry] = []
        self._began_at = time.monotonic()
        self._started_at: float | None = None
        self._first_audio_s: float | None = None
        self._worst_lateness_s = 0.0
        self._barge_ins: list[float] = []
        self._turn_totals: list[float] = []
        self._dropped = 0
        self._checkpoints: dict[str, float] = {}
        self._clears: dict[int, float] = {}
        self.quiet_at: Callable[[], float] = lambda: 0.0  # when all that was sent will have been heard
        self.gone_at: Callable[[], float | None] = lambda: None  # since when no line is there to hear it
        self._saying = Saying()
        self._voice_failed = False
        self._tools: dict[str, ToolCall] = {}  # by their ids, those that run
        self._is_figured = False
        self._is_ended = False
        self._added: dict[str, float] = {}

    def _observe(self, metric: Metric, seconds: float, **labels: str) -> None:
        self._meter.observe(metric, seconds, call_id=self._call_id, **labels)

    # -- timeline

    def note(self, event: TimelineEvent, **data: Any) -> None:
        """Add a line to the call's timeline."""
        if event in TRACED:
            self.span.event(event, **data)
        if len(self._entries) < MAX_ENTRIES:
            self._entries.append(TimelineEntry(self._now_ms(), self._source, str(event), data))

    def take_entries(self) -> list[TimelineEntry]:
        """The lines since the last taking."""
        entries, self._entries = self._entries, []
        return entries

    def put_back(self, entries: list[TimelineEntry]) -> None:
        """The registry did not take them."""
        self._entries = (entries + self._entries)[:MAX_ENTRIES]

    def _said(self, event: TimelineEvent, text: str, **more: Any) -> None:
        shown = {"text": text} if self._transcripts else {}
        self.note(event, words=len(text.split()), **shown, **more)

    # -- the wire

    def dropped(self, reason: DropReason) -> None:
        self._dropped += 1
        self._meter.count(FRAMES_DROPPED, reason=reason)

    def stream_started(self, stream_id: str) -> None:
        self.health.began(time.monotonic())
        self.note(TimelineEvent.STREAM_STARTED, stream_id=stream_id, repeated=self._started_at is not None)
        if self._started_at is None:
            self._started_at = self.last_activity_at = time.monotonic()

    def caller_was_loud(self, now: float) -> None:
        self.last_activity_at = now
        self.turns.caller_was_loud(now)

    def audio_sent(self, now: float, late_s: float, *, is_speech: bool = True) -> None:
        """A chunk left for the caller, so late against the moment that was planned for it."""
        self._worst_lateness_s = max(self._worst_lateness_s, late_s)
        if late_s >= LATE_S:
            self._meter.count(LATE_FRAMES)
        if not is_speech:
            return
        self.last_activity_at = now
        if self._first_audio_s is None and self._started_at is not None:
            self._first_audio_s = now - self._started_at
            self._observe(FIRST_AUDIO_SECONDS, self._first_audio_s)
            self.note(TimelineEvent.FIRST_AUDIO, ms=_ms(self._first_audio_s))
        turn = self.turns.bot_heard(now)
        if turn is not None:
            self._turn_ended(turn)

    def _turn_ended(self, turn: Turn) -> None:
        self._turn_totals.append(turn.total_s)
        self._observe(TURN_SECONDS, turn.total_s, stage="total")
        for stage, seconds in turn.stages.items():
            self._observe(TURN_SECONDS, seconds, stage=stage)
        stages = {f"{stage}_ms": _ms(seconds) for stage, seconds in turn.stages.items()}
        self.note(TimelineEvent.TURN, **stages, total_ms=_ms(turn.total_s))
        traced = self.span.past("turn", turn.total_s)
        ago_s = turn.total_s
        for stage, seconds in turn.stages.items():  # one after another
            traced.past(f"turn.{stage}", ago_s, ago_s - seconds)
            ago_s -= seconds

    def clear_sent(self, sequence_number: int, now: float) -> None:
        self._clears[sequence_number] = now
        after_s = self.turns.interrupted(now)
        if after_s is None:
            self.note(TimelineEvent.INTERRUPTED)
            return
        self._barge_ins.append(after_s)
        self._observe(BARGE_IN_SECONDS, after_s)
        self.note(TimelineEvent.INTERRUPTED, ms=_ms(after_s))

    def clear_acknowledged(self, sequence_number: int) -> None:
        sent_at = self._clears.pop(sequence_number, None)
        if sent_at is not None:
            self.note(TimelineEvent.AUDIO_CLEARED, sequence_number=sequence_number, ms=_ms(time.monotonic() - sent_at))

    def checkpoint_sent(self, name: str) -> None:
        if len(self._checkpoints) < MAX_ENTRIES:
            self._checkpoints[name] = time.monotonic()

    def checkpoint_played(self, name: str) -> None:
        sent_at = self._checkpoints.pop(name, None)
        if sent_at is not None:
            self.note(TimelineEvent.CHECKPOINT_PLAYED, name=name, ms=_ms(time.monotonic() - sent_at))

    def digit(self, digit: str) -> None:
        self.last_activity_at = time.monotonic()
        self.note(TimelineEvent.DIGIT, **({"digit": digit} if self._transcripts else {}))

    # -- the pipeline

    def active(self) -> None:
        """Somebody said something."""
        self.last_activity_at = time.monotonic()

    def caller_transcribed(self, text: str) -> None:
        self.active()
        self.turns.caller_transcribed(self.last_activity_at)
        self.health.caller_understood(self.last_activity_at)
        self._said(TimelineEvent.CALLER_SAID, text)

    def bot_sentence(self, sentence_id: int, text: str) -> None:
        """The bot is about to say this."""
        self._saying.begins(sentence_id, text, time.monotonic(), self.quiet_at())

    def bot_text(self, text: str, sentence_id: int | None = None, *, spaced: bool = False) -> None:
        """Words of the bot that have been said. `spaced`: they bring their own spaces."""
        words = text if spaced else f" {text}"
        self._saying.words_came(words, sentence_id or 0, time.monotonic(), self.quiet_at())

    def bot_stopped(self) -> None:
        """The bot is silent."""
        if self._voice_failed and self._saying.is_unspoken:
            self._bot_ended("failed", self.quiet_at())
        text, lost = self._saying.stops()
        self._voice_failed = False
        for said in lost:
            self._note_unheard(said, "failed")
        if text:
            self._said(TimelineEvent.BOT_SAID, text)

    def bot_cut(self, quiet_at: float, unheard: Collection[str] = ()) -> None:
        """The bot was interrupted: `quiet_at` is what would have been, `unheard` what the carrier has not played."""
        self._bot_ended("cut", quiet_at, unheard)

    def _bot_ended(self, how: str, quiet_at: float, unheard: Collection[str] = ()) -> None:
        now = time.monotonic()
        gone_at = self.gone_at()
        said = self._saying.ends(now if gone_at is None else min(now, gone_at), quiet_at, unheard)
        if said is not None and said.heard is None:
            self._said(TimelineEvent.BOT_SAID, said.text)
        elif said is not None:
            self._note_unheard(said, how)

    def _note_unheard(self, said: Said, how: str) -> None:
        """What was said and not wholly heard; `how` that came: cut, or failed."""
        data: dict[str, Any] = {how: True}
        if said.heard is not None:
            data["heard_words"] = len(said.heard.split())
            data |= {"heard": said.heard} if self._transcripts else {}
        if said.heard_s is not None:
            data["heard_s"] = said.heard_s
        self._said(TimelineEvent.BOT_SAID, said.text, **data)

    # -- tools

    def tool_runs(self, call_id: str, name: str, arguments: Any, *, is_known: bool = True) -> None:
        """A tool that the model has called begins to run. Not `is_known`: the bot has none of this name."""
        if call_id not in self._tools and len(self._tools) < MAX_ENTRIES:
            self._tools[call_id] = ToolCall(name, time.monotonic(), arguments, is_known)

    def tool_ended(self, call_id: str, outcome: str, answer: Any = None, *, exception: str = "") -> None:
        """A tool has come to its end, unless that is known already. `outcome` as in `TimelineEvent.TOOL`."""
        tool = self._tools.pop(call_id, None)
        if tool is None:
            return
        data = {"exception": exception} if exception else {}
        name = tool.name if tool.is_known or self._transcripts else ""  # the model made it up: it may be anything
        outcome = outcome if tool.is_known else "unknown"
        if self._transcripts:
            data |= {"arguments": shown(tool.arguments), "answer": shown(answer)}
        self.note(TimelineEvent.TOOL, name=name, ms=_ms(time.monotonic() - tool.began_at), outcome=outcome, **data)

    def provider_failed(self, failure: Failure) -> None:
        """Whatever comes of it: counted, and noted with what the caller was doing."""
        now = time.monotonic()
        if self.health.failed(failure, now):
            self._meter.count(PROVIDER_ERRORS, provider=failure.provider, fault=failure.fault)
            caller = str(self.health.doing(now))
            self.note(TimelineEvent.PROVIDER_ERROR, provider=failure.provider, fault=failure.fault, caller=caller)
        if failure.service is Service.TTS:
            self._voice_failed = True

    def given_up(self, now: float) -> Failure | None:
        """The provider that the caller waits for in vain, if there is one."""
        self.health.caller_was_loud(*self.turns.loud)
        return self.health.given_up(now)

    def used(self, metric: Metric, amount: float, **labels: str) -> None:
        """A provider was used: counted for the call's bot and number group."""
        self._meter.count(metric, amount, **labels, **self._whose)

    # -- the end

    def session_ended(self, reason: Reason | None, age_s: float) -> None:
        """Once; None: the call goes on elsewhere. `age_s` is the whole call's."""
        self._end_span(reason)
        self._meter.count(BOT_SECONDS, time.monotonic() - self._began_at, **self._whose)
        if reason is None:
            return
        self._meter.count(BOT_CALLS, 1, result=RESULT_OF[reason], **self._whose)
        if reason in LEFT and age_s < EARLY_S and not self._turn_totals:
            self._meter.count(EARLY_HANGUPS, 1, **self._whose)

    def _end_span(self, reason: Reason | None) -> None:
        span, self.span = self.span, NO_SPAN  # what comes later has no place in it
        if reason is None:
            span.end()
            return
        result = RESULT_OF[reason]
        span.tell(reason=reason, result=result, **self.figures())
        span.end(reason if result is Result.FAILED else "")

    def add_figure(self, name: str, value: float) -> None:
        """A figure that was taken elsewhere."""
        self._added[name] = round(value, 1)

    def note_ended(self, reason: Reason) -> None:
        if not self._is_ended:
            self._is_ended = True
            self.note(TimelineEvent.ENDED, reason=str(reason), result=str(RESULT_OF[reason]))

    def figures(self) -> dict[str, float]:
        """The call's own figures, for its record; what is per call enters the metrics with the first asking."""
        session_s = time.monotonic() - self._began_at
        if not self._is_figured:
            self._is_figured = True
            self._bot_ended("failed" if self._voice_failed else "cut", self.quiet_at())
            for call_id in list(self._tools):
                self.tool_ended(call_id, "unfinished")
            self._observe(CALL_SECONDS, session_s)
            if self._first_audio_s is not None:
                self._observe(FRAME_LATENESS_SECONDS, self._worst_lateness_s)
        figures: dict[str, float] = {
            **self._added,
            CALL_SECONDS.figure: round(session_s, 3),
            "turns": len(self._turn_totals),
            "barge_ins": len(self._barge_ins),
            "frames_dropped": self._dropped,
        }
        if self._first_audio_s is not None:
            figures[FIRST_AUDIO_SECONDS.figure] = _ms(self._first_audio_s)
            figures[FRAME_LATENESS_SECONDS.figure] = _ms(self._worst_lateness_s)
        if self._turn_totals:
            figures[TURN_SECONDS.figure] = _ms(_median(self._turn_totals))
        if self._barge_ins:
            figures[BARGE_IN_SECONDS.figure] = _ms(max(self._barge_ins))
        return figures


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
