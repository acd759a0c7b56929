"""The stream of one call while it lives: a frame to the bot every 20 ms, and what the bot sends into the caller's ear.

One loop per call sends frames, keys and acknowledgements; the line's reader hands in what the bot sends. Nothing is
created per frame.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from shared.carrier.events import EventKind
from shared.carrier.heard import Ear
from shared.carrier.heard_keys import heard_keys
from shared.carrier.line import Line
from shared.carrier.pace import Pace
from shared.carrier.plan import CallPlan, Dialect, Press
from shared.carrier.recording import SaidFrames
from shared.carrier.report import CallReport
from shared.carrier.script import Script, Utterance, encode_payload
from shared.sfvopi.answer import StreamAnswer
from shared.sfvopi.errors import DropReason, MessageDropped
from shared.sfvopi.formats import AudioFormat
from shared.sfvopi.g711 import decode
from shared.sfvopi.messages import Checkpoint, ClearAudio, PlayAudio
from shared.sfvopi.parse import parse_command

SHOWN_CHARS = 80  # of a message that is none
BARGE_IN_LIMIT_S = 5.0  # a clearAudio that comes later answers something else
QUIET_S = 0.6  # for who watches: the bot has stopped speaking

Tell = Callable[..., None]


class Conversation:
    """Runs a call from its first connection to its end, and writes the figures into the report."""

    def __init__(
        self,
        plan: CallPlan,
        answer: StreamAnswer,
        utterances: Sequence[Utterance],
        report: CallReport,
        new_ids: Callable[[], str],
        tell: Tell,
    ) -> None:
        self.troubles: Counter[str] = Counter()
        self._examples: dict[str, str] = {}  # the first message of each trouble
        self._plan = plan
        self._knobs = plan.knobs
        self._report = report
        self._tell = tell
        self._clock = asyncio.get_running_loop().time
        self._format = answer.format
        self._silent_payload = encode_payload(bytes(self._format.sample_rate // 50 * 2), self._format)
        keeps = plan.keep_audio or plan.hears_keys or bool(plan.record_path)
        self.ear = Ear(self._format.sample_rate, self._knobs.prebuffer_ms / 1000, keep_audio=keeps)
        self.said = SaidFrames(self._format) if plan.record_path else None
        self._script = Script(plan.steps, utterances, self.ear, tell)
        self.line = Line(plan, answer, new_ids(), lambda: f"SFV_STRM_BI_{new_ids()}", self._on_frame, tell)
        self._raw_frames = sorted((raw for raw in self._knobs.raw_frames if raw.at_s >= 0), key=lambda raw: -raw.at_s)
        self._drop_at_s = self._knobs.drop_socket_at_s
        self._is_bot_talking = False

    @property
    def now(self) -> float:
        """Seconds after the first `start`."""
        return self._clock() - self.line.started_at

    async def run(self) -> str:
        """Let the caller perform until somebody ends the call; returns who: caller, bot, network or limit."""
        by = await self._run()
        self.ear.hang_up(self.now)
        return by

    async def _run(self) -> str:
        pace = Pace(self._knobs)
        n = 0
        while True:
            due = pace.next_due_s()
            await asyncio.sleep(max(0.0, due - self.now))
            now = self.now
            self._report.lag_ms = max(self._report.lag_ms, (now - due) * 1000)
            if by := self._who_ended(now):
                return by
            await self._meddle(now)
            if not await self._perform(n, now):
                return "caller"
            await self._acknowledge(now)
            self._watch(now)
            n += 1

    # -- caller → bot --

    def _who_ended(self, now: float) -> str:
        if self.line.end:
            return self.line.end.by
        if self._plan.hangup_after_s is not None and now >= self._plan.hangup_after_s:
            return "caller"
        return "limit" if now >= self._plan.max_s else ""

    async def _perform(self, n: int, now: float) -> bool:
        """Send this frame, and the keys before it; False: the caller hangs up."""
        action = self._script.next_action(now)
        while not isinstance(action, str):
            if not isinstance(action, Press):
                return False
            if await self.line.send(self.line.messages.dtmf(action.digit)):
                self._tell(EventKind.KEY_PRESSED, digit=action.digit)
            else:
                self.troubles["a key was pressed while no stream was up, and is lost"] += 1
            action = self._script.next_action(now)
        if action and self.said:
            self.said.add(n, action)
        if await self.line.send(self.line.messages.media(action or self._silent_payload)):
            self._report.frames_sent += 1
        else:
            self._report.frames_lost += 1
        return True

    async def _meddle(self, now: float) -> None:
        """What the knobs want done at this moment."""
        while self._raw_frames and self._raw_frames[-1].at_s <= now:
            await self.line.send(self.line.make(self._raw_frames.pop().frame))
        if self._drop_at_s is not None and now >= self._drop_at_s:
            self._drop_at_s = None
            self.line.drop()

    async def _acknowledge(self, now: float) -> None:
        for name in self.ear.take_played_checkpoints(now):
            self._report.checkpoints.append(name)
            self._tell(EventKind.CHECKPOINT_PLAYED, name=name)
            await self.line.send(self.line.messages.played(name))

    def _watch(self, now: float) -> None:
        last = self.ear.last_sound_at(now)
        is_talking = last is not None and now - last < QUIET_S
        if is_talking == self._is_bot_talking:
            return
        self._is_bot_talking = is_talking
        if is_talking:
            self._tell(EventKind.BOT_SPEAKING)
        else:
            self._tell(EventKind.BOT_QUIET, ago_s=now - last if last is not None else 0.0)

    # -- bot → caller --

    def _on_frame(self, frame: str | bytes) -> Sequence[str]:
        """One message of the bot's; returns what it is answered with at once."""
        try:
            command = parse_command(frame, self._format)
        except MessageDropped as dropped:
            self._drop(dropped, frame)
            return ()
        match command:
            case PlayAudio(payload, format):
                self._hear(payload, format)
            case ClearAudio(stream_id, number):
                self._check_stream_id("clearAudio", stream_id)
                return (self._clear(number),)
            case Checkpoint(stream_id, name):
                self._check_stream_id("checkpoint", stream_id)
                self.ear.checkpoint(name)
        return ()

    def _hear(self, payload: bytes, format: AudioFormat) -> None:
        if format != self._format:
            self._blame_format(f"{format.codec} {format.sample_rate}")
            return
        self._report.frames_received += 1
        self.ear.receive(decode(payload, format), self.now)

    def _clear(self, number: int) -> str:
        now = self.now
        told: dict[str, Any] = {"number": number, "dropped_ms": round(self.ear.clear(now) * 1000)}
        began, self._script.barged_in_at = self._script.barged_in_at, None
        if began is not None and now - began < BARGE_IN_LIMIT_S:
            self._report.barge_in_ms.append(round((now - began) * 1000, 1))
            told["barge_in_ms"] = self._report.barge_in_ms[-1]
        self._report.clear_numbers.append(number)
        if not number and self._plan.dialect is Dialect.SFVOPI:
            self.troubles["clearAudio without a sequenceNumber from 1"] += 1
        self._tell(EventKind.AUDIO_CLEARED, **told)
        return self.line.messages.cleared(number)

    def _drop(self, dropped: MessageDropped, frame: str | bytes) -> None:
        if dropped.reason is DropReason.WRONG_FORMAT:
            self._examples.setdefault(self._blame_format("an unknown format"), show_frame(frame))
            return
        self._report.frames_dropped += 1
        trouble = f"the bot sent what is no message: {dropped}"
        self.troubles[trouble] += 1
        self._examples.setdefault(trouble, show_frame(frame))

    def _blame_format(self, sent: str) -> str:
        self._report.frames_wrong_format += 1
        promised = f"{self._format.codec} {self._format.sample_rate}"
        trouble = f"playAudio in {sent}, but the answer promised {promised}"
        self.troubles[trouble] += 1
        return trouble

    def _check_stream_id(self, what: str, stream_id: str) -> None:
        if stream_id != self.line.stream_id:
            self.troubles[f"{what} {'for another streamId' if stream_id else 'without streamId'}"] += 1

    # -- figures --

    def conclude(self, ended_at: float) -> None:
        """Write what is known only at the end. `ended_at`: seconds after `start`."""
        ear, report, script = self.ear, self._report, self._script
        first_sound = ear.first_sound_at(0.0, ended_at)
        report.started_at_ms = round((time.time() - self.now) * 1000)
        report.sounds_ms = [(round(start * 1000, 1), round(end * 1000, 1)) for start, end in ear.sounds()]
        report.first_frame_ms = _ms(ear.first_frame_at)
        report.first_audio_ms = _ms(first_sound)
        report.gaps_ms = [round(gap * 1000, 1) for gap in ear.gaps_s()]
        report.underruns = len(report.gaps_ms)
        report.heard_s = round(ear.heard_s(ended_at), 3)
        report.most_ahead_ms = round(ear.most_ahead_s * 1000, 1)
        report.after_clear_ms = round(ear.after_clear_s * 1000, 1)
        report.checkpoints_unplayed = list(ear.unplayed_checkpoints)
        report.stream_ids = list(self.line.stream_ids)
        report.reconnects = self.line.reconnects
        report.lag_ms = round(report.lag_ms, 1)
        report.turns = script.turns
        self._answer_turns()
        report.notes += script.notes
        if script.steps_left:
            report.notes.append(f"the call ended with {script.steps_left} steps left")
        report.errors += script.errors
        report.errors += [f"{fault} ({n} times)" if n > 1 else fault for fault, n in Counter(self.line.faults).items()]
        for trouble, n in self.troubles.items():
            times = f" ({n} times)" if n > 1 else ""
            report.errors.append(f"{trouble}{times}{self._examples.get(trouble, '')}")
        if self._plan.hears_keys or self._plan.record_path:
            report.heard_digits = "".join(heard.key for heard in heard_keys(ear.pcm(), ear.rate))
        if self._plan.keep_audio:
            report.heard_pcm = ear.pcm()

    def _answer_turns(self) -> None:
        turns = self._report.turns
        spoken = [start * 1000 for start, _ in self.ear.utterances()]
        for turn, following in zip(turns, [*turns[1:], None], strict=False):
            if turn.is_interruption and (silent := self.ear.silent_from(turn.from_ms / 1000)) is not None:
                self._report.silence_ms.append(round(silent * 1000 - turn.from_ms, 1))
            if turn.to_ms is None:
                continue
            until = following.from_ms if following else float("inf")
            answers = [start for start in spoken if turn.to_ms <= start < until]
            if answers:
                turn.answered_after_ms = round(answers[0] - turn.to_ms, 1)
                self._report.response_ms.append(turn.answered_after_ms)


def show_frame(frame: str | bytes) -> str:
    """How a message of the bot's begins, and its event if it has one: behind the sentence that complains of it."""
    if isinstance(frame, bytes):
        return f": {len(frame)} bytes, no text"
    try:
        event = json.loads(frame)["event"]
    except (ValueError, TypeError, KeyError, RecursionError):
        event = None
    named = f"event {event[:SHOWN_CHARS]!r}, " if isinstance(event, str) else ""
    more = "…" if len(frame) > SHOWN_CHARS else ""
    return f": {named}{frame[:SHOWN_CHARS]!r}{more}"


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
