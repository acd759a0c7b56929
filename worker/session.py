"""One call in this worker: wait for `start`, run the bot, end for exactly one reason, close the line.

The shell around `ending.py`: it awaits and decides nothing. The stream's sockets come and go while it runs. What the
bot does after its call, and that nothing of it is left, is the business of `afterwards.py`.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import structlog
from pipecat.runner.types import CallData, WebSocketRunnerArguments

from shared.calls.outcome import Reason
from shared.calls.record import CallRecord
from shared.calls.timeline import TimelineEvent
from shared.settings import WorkerSettings
from shared.sfvopi.closing import CloseCode
from shared.telemetry.catalogue import SESSIONS_RESUMED, STUCK_SESSIONS
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from worker.afterwards import Afterwork
from worker.bot_loader import Bot, BotNotFound
from worker.checkpoint import Unreadable
from worker.ending import Ending, FirstEnding, Limits, Manner, View, given_up, overdue
from worker.pipeline.finish import ask_to_cancel, ask_to_finish, force, is_at_work
from worker.prompts import Prompt
from worker.resumption import CheckpointStore, Keeper
from worker.stream import CallStream
from worker.tasks import SessionTasks

LOOK_S = 0.2  # between looks at the limits
STOOD_STILL_S = 1.0  # a loop that comes so late did nothing at all meanwhile: the process was stopped, or blocked
SILENT_GRACE_S = 0.5  # for a peer that is silent, but not dead, to take our close
LAST_WORD_S = 0.3  # for a bot that cancelled its pipeline to return, or to raise, which says why
LONGEST_GOODBYE_S = 30.0  # of what the bot has still to say when it is asked to end
PROMPT_GRACE_S = 3.0  # beyond the length of a recording
EXIT_REMEDY = "a worker has many calls: end this one with EndWorkerFrame or pipeline.cancel()"


@dataclass(frozen=True, slots=True)
class Workplace:
    """What every session of this worker uses."""

    settings: WorkerSettings
    meter: Meter
    load_bot: Callable[[CallRecord], Awaitable[Bot]]  # raises BotNotFound
    apology: Prompt
    checkpoints: CheckpointStore


class Session:
    """One call. `run()` ends when its line is closed; `ending` says why; `afterwork()` is what is left of the bot."""

    def __init__(
        self,
        record: CallRecord,
        stream: CallStream,
        workplace: Workplace,
        claim: Callable[["Session"], Awaitable[None]],
        age_s: float = 0.0,
    ) -> None:
        self.record = record
        self._claim = claim
        self.stream = stream
        stream.on_misuse = self._misused
        self.tasks = SessionTasks(record.call_id, record.bot, self._bot_has_exited)
        self.attached_at_ms = 0  # when the last stream was attached, by the registry's clock
        self.is_beginning_told = False
        self.is_relayed = False  # a gateway's leg holds the caller's socket, and can bring it elsewhere
        self.is_recorded = False  # the registry knows that the call is over: its slot is no longer ours to renew
        self._place = workplace
        self._ending = FirstEnding()
        self._bot: asyncio.Task[None] | None = None
        self._fault_after = ""  # what the bot raised when its call was over
        self._began_at = time.monotonic() - age_s  # the call's: an earlier session counts
        self._keeper = Keeper(record.call_id, stream.watch.conversation_changed, lambda: self.fence)
        self.began_as = "" if record.attachments > 1 else "first"  # then: resumed or afresh
        self._log = get_logger(__name__)
        settings = workplace.settings
        self._limits = Limits(settings.reconnect_window_s, settings.idle_s, settings.max_call_s, settings.end_grace_s)

    @property
    def ending(self) -> Ending | None:
        """Why the call ends, once that is known."""
        return self._ending.given

    def end(self, reason: Reason, detail: str = "") -> bool:
        """End the call for this reason, unless it ends already."""
        return self._ending.give(Ending(reason, detail))

    def _bot_has_exited(self, error: BaseException) -> None:
        """A task of the bot's asked the process to end: it is not the bot's, so the call ends in its place."""
        self._log.error("the bot asked the process to exit", exc_info=error, remedy=EXIT_REMEDY)
        if not self.end(Reason.BOT_ERROR, type(error).__name__):
            self._fault_after = type(error).__name__

    def hand_over(self, worker_id: str) -> None:
        """End here, so that the call goes on at this other worker, which has a slot for it."""
        if self._ending.give(Ending(Reason.SHUTDOWN, "handed over", is_handover=True)):
            self.stream.watch.note(TimelineEvent.HANDED_OVER, worker_id=worker_id)

    def give_up(self, worker_id: str) -> None:
        """End here without a word: the call is this other worker's by now, and so is all that is written of it."""
        if self._ending.give(Ending(Reason.SHUTDOWN, "superseded", is_handover=True)):
            self.stream.watch.note(TimelineEvent.SUPERSEDED, worker_id=worker_id)

    @property
    def age_s(self) -> float:
        """How long the call has had a session, here or elsewhere."""
        return time.monotonic() - self._began_at

    @property
    def fence(self) -> int | None:
        """The epoch of our attachment, so that we move this call only while it is ours; None if we do not know it."""
        return self.record.epoch or None

    def attached(self, epoch: int) -> None:
        """A stream was attached; the registry knows it under this epoch (0: it was away and could not say)."""
        self.record = replace(self.record, epoch=epoch)
        self.stream.watch.conversation_changed.set()  # what was kept under the old epoch is fenced off

    async def run(self) -> Ending:
        """Hold the call until its line is closed."""
        structlog.contextvars.bind_contextvars(call_id=self.record.call_id)
        looking = asyncio.create_task(self._look(), name="session:limits")
        keeping = asyncio.create_task(self._keep(), name="session:checkpoints")
        leaving = asyncio.create_task(self._end_with_pipeline(), name="session:pipeline")
        self.tasks.enter()
        try:
            if await self._wait_for_start():
                self._bot = asyncio.create_task(self._run_bot(), name="session:bot")
            ending = await self._ending.wait()
            self.stream.watch.note(TimelineEvent.ENDING, reason=str(ending.reason))
            await self._wind_up(ending)
            return ending
        finally:
            for task in (looking, keeping, leaving):
                task.cancel()
            self.stream.end()

    def afterwork(self) -> Afterwork:
        """The line is closed: what the bot has still to do."""
        return Afterwork(self._bot, self.stream, self.tasks, self._place.settings, lambda: self._fault_after)

    # -- while it lives

    async def _look(self) -> None:
        has_slept = False
        while self.ending is None:
            if not has_slept:  # else what came meanwhile is read first: nobody was silent while we did not listen
                ending = overdue(self._view(), self._limits)
                if ending is not None:
                    self._ending.give(ending)
                self._judge_beginning()
                self._judge_conversation()
                await self._drop_silent_socket()
            looked_at = time.monotonic()
            await asyncio.sleep(LOOK_S)
            has_slept = time.monotonic() - looked_at > LOOK_S + STOOD_STILL_S

    # -- what outlives it

    async def checkpoint_now(self) -> bool:
        """Keep the conversation as it is now. False if the registry is away."""
        self._keeper.keeping = self.stream.keeping
        return await self._keeper.save(self._place.checkpoints)

    async def _keep(self) -> None:
        while self.stream.keeping is None:
            await self.stream.watch.conversation_changed.wait()
            self.stream.watch.conversation_changed.clear()
        self._keeper.keeping = self.stream.keeping
        self.stream.watch.conversation_changed.set()
        await self._keeper.run(self._place.checkpoints)

    async def _recall(self) -> None:
        """What the session before this one left, if there was one."""
        if self.began_as == "first":
            return
        try:
            self.stream.earlier = await self._place.checkpoints.load(self.record.call_id)
        except Unreadable as why:
            self.stream.why_afresh = str(why)

    def _judge_conversation(self) -> None:
        """A bot, a summary or a flow may rewrite its context without a word."""
        if self.stream.keeping is not None and self.stream.keeping.is_rewritten():
            self.stream.watch.conversation_changed.set()

    def _judge_beginning(self) -> None:
        """A second session: did the bot take the conversation up? It is known once its pipeline runs."""
        if self.began_as or not self.stream.watch.pipeline_started.is_set():
            return
        keeping = self.stream.keeping
        self.began_as = "resumed" if keeping is not None and keeping.is_resumed else "afresh"
        self._place.meter.count(SESSIONS_RESUMED, result=self.began_as)
        if self.began_as == "afresh":
            why = "not_taking_part" if keeping is None else self.stream.why_afresh
            self.stream.watch.note(TimelineEvent.AFRESH, why=why)

    def _view(self) -> View:
        watch, now = self.stream.watch, time.monotonic()
        return View(
            now=now,
            began_at=self._began_at,
            has_started=self.stream.first_started.is_set(),
            detached_at=self.stream.detached_at,
            attached_at=self.stream.attached_at,
            last_activity_at=watch.last_activity_at,
            quiet_at=self.stream.speaker.quiet_at,
            end_seen_at=watch.end_seen_at,
            is_at_work=watch.end_seen_at is not None and is_at_work(self.stream.pipeline),
            given_up=watch.given_up(now),
        )

    async def _drop_silent_socket(self) -> None:
        """Close it with a code, or a gateway between would take this for a worker that died, and come again."""
        socket, limit_s = self.stream.socket, self._place.settings.media_timeout_s
        if socket is not None and socket.is_open and time.monotonic() - socket.last_message_at > limit_s:
            self._log.warning("stream is silent, dropped", after_s=limit_s)
            await socket.close(CloseCode.POLICY, "silent")
            asyncio.get_running_loop().call_later(SILENT_GRACE_S, socket.abort)  # a dead peer answers no close

    async def _wait_for_start(self) -> bool:
        """Whether `start` came before the call ended."""
        started = asyncio.create_task(self.stream.first_started.wait(), name="session:start")
        ended = asyncio.create_task(self._ending.wait(), name="session:ended")
        try:
            await asyncio.wait({started, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            started.cancel()
            ended.cancel()
        return self.ending is None

    async def _run_bot(self) -> None:
        self.stream.watch.span.enter()  # what Pipecat, or the bot, has to show is below it
        try:
            bot = await self._place.load_bot(self.record)
            await self._recall()
            await bot(runner_arguments(self.record, self.stream))
        except BotNotFound as error:
            self._log.error("bot not found", reason=str(error))
            self.end(Reason.BOT_ERROR, type(error).__name__)
        except Exception as error:  # the edge of the session: a bot may raise anything
            self._log.exception("the bot raised")
            if not self.end(Reason.BOT_ERROR, type(error).__name__):
                self._fault_after = type(error).__name__
        except (SystemExit, KeyboardInterrupt) as error:
            self._bot_has_exited(error)
        except asyncio.CancelledError:  # by us, and the call ends already; or by the bot, which ended itself so
            self._ending.give(self._ending_of_bot())
            raise
        else:
            self._ending.give(self._ending_of_bot())

    def _misused(self, sentence: str) -> None:
        self._log.error("the bot cannot take the call", reason=sentence)
        self.end(Reason.BOT_ERROR, "the bot takes its call for a WebSocket")

    async def _end_with_pipeline(self) -> None:
        """The bot has said its last, and so the call is over, whatever the bot goes on to do."""
        await self.stream.pipeline_ended.wait()
        if not self.stream.has_said_all and self._bot is not None:
            await asyncio.wait({self._bot}, timeout=LAST_WORD_S)
        self._ending.give(self._ending_of_bot())

    def _ending_of_bot(self) -> Ending:
        """Why the bot came to its end, when nobody asked it to."""
        watch = self.stream.watch
        failure = watch.health.ended(time.monotonic(), in_order=watch.end_seen_at is not None)
        if failure is not None:
            return given_up(failure)
        if not watch.pipeline_started.is_set():
            return Ending(Reason.BOT_ERROR, "the bot ended before its pipeline had begun")
        return Ending(Reason.IDLE if watch.idle_seen else Reason.BOT_ENDED)

    # -- its end

    async def _wind_up(self, ending: Ending) -> None:
        """Close the line: the caller hears what was sent, and waits for nothing else that the bot does."""
        self._log.info("call ends", reason=str(ending.reason), detail=ending.detail)
        match ending.manner:
            case Manner.NOTHING:
                await self._cancel_pipeline()  # a bot may have returned before its pipeline had ended
            case Manner.HAND_OVER:
                self.stream.is_handed_over = True
                await self.checkpoint_now()
                await self.stream.close(ending.close_code, ending.detail)
                return
            case Manner.HANG_UP:
                self.stream.is_hung_up = True
                self.stream.end()
            case Manner.GOODBYE:
                await self._let_bot_finish()
            case Manner.FORCE:
                await self._force_pipeline()
            case Manner.CUT:
                await self._cancel_pipeline()
            case Manner.APOLOGY:
                await self._claim(self)  # a caller who hangs up into it has been failed all the same
                await self._apologise_at_once()
        if not self.is_recorded:
            await self._claim(self)  # first: our close makes the carrier send its hangup webhook, which would win
        await self.stream.speaker.heard()
        await self.stream.close(ending.close_code, str(ending.reason))

    async def _let_bot_finish(self) -> None:
        """What it has begun to say takes as long as it takes; the grace begins when that has been heard."""
        if self._says_no_more():
            return
        assert self.stream.pipeline is not None
        await ask_to_finish(self.stream.pipeline)
        asked_at = time.monotonic()
        while not await self._ends_within(LOOK_S):
            now = time.monotonic()
            silent_since = max(asked_at, min(self.stream.speaker.quiet_at, asked_at + LONGEST_GOODBYE_S))
            if now - silent_since > self._limits.end_grace_s:
                await self._force_pipeline()
                return

    async def _cancel_pipeline(self) -> None:
        if self._says_no_more():
            return
        await ask_to_cancel(self.stream.pipeline)
        if not await self._ends_within(self._place.settings.cancel_grace_s):
            await self._force_pipeline()

    async def _force_pipeline(self) -> None:
        self._place.meter.count(STUCK_SESSIONS, step="cancelled")
        self._log.warning("the pipeline would not end, forced")
        await force(self.stream.pipeline)
        await self._ends_within(self._place.settings.cancel_grace_s)

    def _says_no_more(self) -> bool:
        pipeline = self.stream.pipeline
        return pipeline is None or self.stream.pipeline_ended.is_set() or pipeline.has_finished()

    async def _ends_within(self, seconds: float) -> bool:
        """Whether the bot's pipeline comes to its end in this time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stream.pipeline_ended.wait()
        return self._says_no_more()

    async def _apologise_at_once(self) -> None:
        """Beside the bot's end: the caller does not wait for what its pipeline, or its own work, still does."""
        asked = asyncio.create_task(self._ask_bot_to_cancel(), name="session:cancel")
        await self._apologise()
        await asyncio.wait({asked}, timeout=self._place.settings.cancel_grace_s)

    async def _ask_bot_to_cancel(self) -> None:
        if not self._says_no_more():
            await ask_to_cancel(self.stream.pipeline)

    async def _apologise(self) -> None:
        stream, apology = self.stream, self._place.apology
        if not stream.is_attached:
            return
        try:
            async with asyncio.timeout(apology.duration_s + PROMPT_GRACE_S):
                await stream.speaker.say_last(apology.pcm(stream.format.sample_rate))
        except TimeoutError:
            self._log.warning("the apology was not heard to its end")


def runner_arguments(record: CallRecord, stream: CallStream, **extra: Any) -> WebSocketRunnerArguments:
    """What a bot is called with, in Pipecat's own shape."""
    body = {
        "call_id": record.call_id,
        "direction": record.direction,
        "request_uuid": record.request_uuid,
        "from": record.from_number,
        "to": record.to_number,
        "codec": record.codec,
        "sample_rate": record.sample_rate,
        **extra,
    }
    call_data = CallData.model_validate(
        {
            "stream_id": stream.stream_id,
            "call_id": record.call_id,
            "from": record.from_number,
            "to": record.to_number,
            "body": body,
            "carrier_call_id": stream.carrier_call_id,
        }
    )
    stream.parsed(call_data)
    # Pipecat names Starlette's class; ours is what its transport of this fleet takes
    return WebSocketRunnerArguments(
        websocket=stream,  # type: ignore[arg-type]
        transport_type="websocket",
        session_id=record.call_id,
        body=body,
        call_data=call_data,
    )
