"""One call, placed: asks the answer URL, connects, lets caller and bot talk, hangs up, reports.

The shell around the rest: `Conversation` is the stream while it lives, `asking` the webhooks, `judge` the verdict.
"""

import asyncio
import time
import uuid
from datetime import UTC, datetime

import httpx2

from shared.calls.outcome import Result
from shared.calls.record import RESULT_BY_NAME
from shared.carrier import asking
from shared.carrier.audio import write_stereo_wav
from shared.carrier.conversation import Conversation
from shared.carrier.events import CarrierEvent, EventKind, Watcher
from shared.carrier.line import OUR_CLOSE, NotConnected
from shared.carrier.plan import CallPlan, Dialect, Say
from shared.carrier.report import CallOutcome, CallReport, redact_url
from shared.carrier.script import Utterance, prepare
from shared.carrier.speech import RATE, SpeechUnavailable, speak
from shared.sfvopi.answer import StreamAnswer
from shared.sfvopi.formats import PCMA_8K, AudioFormat, Codec
from shared.sfvopi.webhooks import AnswerWebhook, HangupWebhook, RingWebhook

NORMAL_CLEARING = "16"
NETWORK_OUT_OF_ORDER = "38"
OUTCOME_OF: dict[Result, CallOutcome] = {  # what a caller calls that which a fleet calls so
    Result.COMPLETED: CallOutcome.COMPLETED,
    Result.REFUSED: CallOutcome.REFUSED,
    Result.UNANSWERED: CallOutcome.FAILED,
    Result.FAILED: CallOutcome.FAILED,
}


async def place_call(plan: CallPlan, on_event: Watcher | None = None) -> CallReport:
    """Place one call and wait for its end. Whatever the server does is reported, never raised."""
    call = _Call(plan, on_event)
    try:
        await call.place()
    finally:
        await call.shut()
    return call.report


def judge(report: CallReport, plan: CallPlan) -> tuple[CallOutcome, str]:
    """The outcome of a call, from its figures; and what was wrong with it, where that is not an error already.

    Our workers close with 1000 whatever became of the call, and say what in the reason of the close.
    """
    if not report.ended_by:  # there was no stream
        return CallOutcome.REFUSED if _refusals(report) else CallOutcome.FAILED, ""
    if report.ended_by != "caller" and (report.ended_by != "bot" or report.close_code not in OUR_CLOSE):
        return CallOutcome.FAILED, ""
    said = OUTCOME_OF[RESULT_BY_NAME.get(report.close_reason, Result.COMPLETED)]
    if said is not CallOutcome.COMPLETED:
        return said, f"the server ended the call for this reason: {report.close_reason}"
    if report.first_audio_ms is None and plan.expects_audio:
        return CallOutcome.FAILED, "" if report.errors else _silence(report)
    return CallOutcome.COMPLETED, ""


def _silence(report: CallReport) -> str:
    sent = f"{report.heard_s:.1f} s of audio, all of it silence" if report.heard_s > 0 else "no audio"
    if report.ended_by == "caller":
        return f"nothing was heard of the bot: it sent {sent}"
    because = f" ({report.close_reason})" if report.close_reason else ""
    return f"the bot closed the stream with {report.close_code}{because}, and before that it had sent {sent}"


def _refusals(report: CallReport) -> bool:
    """Whether the last word of the server was an HTTP status that says no."""
    said = (report.upgrade_status, report.fallback_status if report.fallback_used else report.webhook_status)
    return any(status is not None and status >= 400 for status in said)


class _Call:
    def __init__(self, plan: CallPlan, on_event: Watcher | None) -> None:
        self.report = CallReport(call_uuid=plan.call_uuid or str(uuid.uuid4()))
        self._plan = plan
        self._knobs = plan.knobs
        self._on_event = on_event
        self._clock = asyncio.get_running_loop().time
        self._placed_at = self._clock()
        self._began_at = datetime.now(UTC)
        self._answered_at: datetime | None = None
        self._conversation: Conversation | None = None
        self._speech: dict[str, bytes] = {}
        self._request_uuid = plan.request_uuid
        if plan.direction == "OUTBOUND" and not plan.request_uuid:
            self._request_uuid = f"sfv_ob_req_{_new_id()}"

    async def place(self) -> None:
        plan = self._plan
        try:
            texts = dict.fromkeys(step.text for step in plan.steps if isinstance(step, Say) and not step.pcm)
            self._speech = await speak(texts) if texts else {}
        except SpeechUnavailable as error:
            self.report.errors.append(str(error))
            return
        async with asking.open_http(plan.answer_url, plan.fallback_url, plan.hangup_url, plan.ring_url) as http:
            await self._ring(http)
            answer = await self._find_stream(http)
            self._answered_at = datetime.now(UTC)
            if answer is None or not await self._converse(http, answer):
                await self._hang_up(http, is_streamed=False)
        self.report.outcome, why = judge(self.report, plan)
        if why:
            self.report.errors.append(why)

    async def shut(self) -> None:
        if self._conversation:
            await self._conversation.line.shut()

    # -- before the stream --

    async def _ring(self, http: httpx2.AsyncClient) -> None:
        if self._plan.ring_url:
            ring = RingWebhook(**self._parties(), call_status="RINGING")
            await asking.tell(
                http, self._plan.ring_url, self._plan.method, ring.to_fields(), self._knobs.hangup_limit_s
            )

    async def _find_stream(self, http: httpx2.AsyncClient) -> StreamAnswer | None:
        """Where the stream shall go: by plan, by the answer webhook, or by its one fallback."""
        if self._plan.stream_url:
            return self._direct_answer()
        asked_at = self._clock()
        answer = await self._ask(http, "primary", self._plan.answer_url)
        if answer is None and self._plan.fallback_url:
            self.report.fallback_used = True
            answer = await self._ask(http, "fallback", self._plan.fallback_url)
        if answer:
            self.report.answer_ms = round((self._clock() - asked_at) * 1000, 1)
        return answer

    def _direct_answer(self) -> StreamAnswer | None:
        plan = self._plan
        if why := asking.judge_stream_url(plan.stream_url):
            self.report.errors.append(f"the stream URL {why}")
            return None
        is_superset = plan.dialect is Dialect.SUPERSET
        format = plan.stream_format or (AudioFormat(Codec.PCMU) if is_superset else PCMA_8K)
        return StreamAnswer(plan.stream_url, format, extra_headers=dict(plan.extra_headers))

    async def _ask(self, http: httpx2.AsyncClient, which: str, url: str) -> StreamAnswer | None:
        self._tell(EventKind.ANSWER_ASKED, which=which)
        webhook = AnswerWebhook(**self._parties(), call_status="IN_PROGRESS", answered_at=_iso(datetime.now(UTC)))
        asked_at = self._clock()
        asked = await asking.ask_answer(http, url, self._plan.method, webhook.to_fields(), self._knobs.answer_limit_s)
        if which == "fallback":
            self.report.fallback_status = asked.status
        else:
            self.report.webhook_status = asked.status
        if asked.answer is None:
            self.report.errors.append(f"{which} answer webhook: {asked.why}")
            self._tell(EventKind.ANSWER_FAILED, which=which, status=asked.status, why=asked.why)
            return None
        format = asked.answer.format
        ms = round((self._clock() - asked_at) * 1000, 1)
        self._tell(EventKind.ANSWERED, which=which, ms=ms, codec=str(format.codec), sample_rate=format.sample_rate)
        return asked.answer

    # -- the stream --

    async def _converse(self, http: httpx2.AsyncClient, answer: StreamAnswer) -> bool:
        """Talk until the call has ended; False if it did not come to a stream."""
        report = self.report
        report.codec, report.sample_rate = str(answer.format.codec), answer.format.sample_rate
        report.stream_url = redact_url(answer.url)
        talk = Conversation(self._plan, answer, self._utterances(answer.format), report, _new_id, self._tell)
        self._conversation = talk
        asked_at = self._clock()
        try:
            await talk.line.open()
        except NotConnected as error:
            report.upgrade_status = error.status
            report.errors.append(str(error))
            self._tell(EventKind.CONNECT_FAILED, why=str(error), status=error.status)
            return False
        report.connect_ms = round((talk.line.started_at - asked_at) * 1000, 1)
        report.ended_by = await talk.run()
        ended_at = talk.now
        if self._knobs.hangup_first:
            await self._hang_up(http, is_streamed=True)
        await self._end_stream(talk)
        if not self._knobs.hangup_first:
            await self._hang_up(http, is_streamed=True)
        talk.conclude(ended_at)
        if self._plan.record_path:
            await asyncio.to_thread(self._record, talk)
        return True

    def _utterances(self, format: AudioFormat) -> list[Utterance]:
        says = [step for step in self._plan.steps if isinstance(step, Say)]
        return [prepare(say, say.pcm or self._speech[say.text], say.rate if say.pcm else RATE, format) for say in says]

    async def _end_stream(self, talk: Conversation) -> None:
        report, over = self.report, talk.line.end
        if over:
            report.close_code, report.close_reason = over.code, over.reason
            if report.ended_by == "network" or over.code not in OUR_CLOSE:
                again = f", {talk.line.reconnects} reconnections later" if talk.line.reconnects else ""
                why = f"close code {over.code}{over.reason and ': '}{over.reason}"
                report.errors.append(f"the stream was lost ({why}){again}")
        else:
            report.close_code = await talk.line.hang_up()
        if report.ended_by == "limit":
            report.errors.append(f"the call did not end within {self._plan.max_s:g} s")
        if report.ended_by == "caller" and report.close_code is None:
            report.ended_by = "network"
            report.errors.append("the caller hung up while no stream was up")
        self._tell(EventKind.ENDED, by=report.ended_by, code=report.close_code)

    def _record(self, talk: Conversation) -> None:
        said = talk.said.pcm() if talk.said else b""
        try:
            write_stereo_wav(self._plan.record_path, said, talk.ear.pcm(), self.report.sample_rate)
            self.report.recording = self._plan.record_path
        except OSError as error:
            self.report.errors.append(f"the recording was not written: {error}")

    # -- after it --

    async def _hang_up(self, http: httpx2.AsyncClient, *, is_streamed: bool) -> None:
        knobs = self._knobs
        ended_at = datetime.now(UTC)
        answered_at = self._answered_at or ended_at
        duration = (ended_at - answered_at).total_seconds()
        if is_streamed:
            self.report.duration_s = round(duration, 3)
        if not self._plan.hangup_url or knobs.hangup == "lost":
            return
        webhook = HangupWebhook(
            **self._parties(),
            call_status="COMPLETED" if is_streamed else "FAILED",
            duration_s=float(round(duration)),
            started_at=_iso(self._began_at),
            answer_at=_iso(answered_at),
            ended_at=_iso(ended_at),
            hangup_cause=NORMAL_CLEARING if is_streamed else NETWORK_OUT_OF_ORDER,
        )
        await asyncio.sleep(knobs.hangup_late_s)
        for _ in range(2 if knobs.hangup == "doubled" else 1):
            status = await asking.tell(
                http, self._plan.hangup_url, self._plan.method, webhook.to_fields(), knobs.hangup_limit_s
            )
            self.report.hangup_statuses.append(status)
            self._tell(EventKind.HANGUP_SENT, status=status)

    def _parties(self) -> dict[str, str]:
        return {
            "call_uuid": self.report.call_uuid,
            "request_uuid": self._request_uuid,
            "from_number": self._plan.from_number,
            "to_number": self._plan.to_number,
            "direction": self._plan.direction,
        }

    def _tell(self, kind: EventKind, *, ago_s: float = 0.0, **data: object) -> None:
        if self._on_event:
            t_s = self._clock() - self._placed_at - ago_s
            at_ms = time.time_ns() // 1_000_000 - round(ago_s * 1000)
            self._on_event(CarrierEvent(kind, round(t_s, 3), at_ms, data))


def _new_id() -> str:
    return uuid.uuid4().hex[:26].upper()


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
