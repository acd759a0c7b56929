"""Every bot once, before the first call: its pipeline is built and set up against a stream without a caller.

That warms what a first call would wait for (imports, models, connections), and finds what no call could go on with:
a bot that raises, a missing key, a pipeline that does not start, audio that never reaches what wants it. The bot sees
`runner_args.body["rehearsal"]`, or asks `is_rehearsal(runner_args)`, and may leave out what counts.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import CoroutineType
from typing import Any

from pipecat.frames.frames import ErrorFrame, StartFrame
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.utils.errors import ErrorCategory

from shared.calls.record import CallRecord
from shared.settings.numbers import NumberPlan
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from shared.telemetry.traces import NO_SPAN, Span
from worker.bot_faults import explain, is_own
from worker.bot_loader import Bot
from worker.observing import CallWatch
from worker.pipeline.anatomy import (
    VAD_REMEDY,
    has_speech_detection,
    has_substitute,
    processors_in,
    transport_detects_speech,
)
from worker.pipeline.audio_path import starved
from worker.pipeline.faults import is_away, is_final, is_provider_away, said_by_status
from worker.pipeline.finish import ask_all_to_cancel, close_clients, force, pipelines_beside
from worker.session import runner_arguments
from worker.stream import NOT_A_WEBSOCKET, CallStream
from worker.tasks import SessionTasks

DEADLINE_S = 60.0  # models may have to be loaded
NO_PIPELINE = "it ended without a pipeline; a call of this fleet comes as WebSocketRunnerArguments"
START_S = 20.0  # from the pipeline's being built to its start
ERROR_S = 2.0  # for the start of a pipeline in which something has failed
LONGEST_FAULT = 400  # characters of an error: some print whole requests
LINGER_S = 0.2  # after the start: services connect beside it
CANCEL_S = 3.0


class Verdict(StrEnum):
    """What a rehearsal showed."""

    READY = "ready"
    FAILED = "failed"  # by the bot's own code or settings: so would every call
    AWAY = "away"  # a provider did not answer, and may by the first call


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """How it went: the fault in one line, or none; and whether the caller's speech would be noticed."""

    bot: str
    fault: str = ""
    hears: bool = False
    took_s: float = 0.0
    remarks: tuple[str, ...] = ()  # what its developer should know: handlers that are never called, and the like
    is_away: bool = False  # the fault is a provider's

    @property
    def verdict(self) -> Verdict:
        if not self.fault:
            return Verdict.READY
        return Verdict.AWAY if self.is_away else Verdict.FAILED


class StartFrameObserver(BaseObserver):
    """How far the StartFrame has come."""

    def __init__(self) -> None:
        super().__init__()
        self.at: FrameProcessor | None = None

    async def on_push_frame(self, data: FramePushed) -> None:
        if isinstance(data.frame, StartFrame):
            self.at = data.destination


class RehearsalStream(CallStream):
    """A stream without a caller; what goes wrong in the pipelines above it is kept."""

    def __init__(self, plan: NumberPlan) -> None:
        # its figures are nobody's: a meter of its own
        super().__init__("rehearsal", plan.format, CallWatch(Meter("worker"), lambda: 0))
        self.is_rehearsal = True
        self.errors: list[ErrorFrame] = []
        self.starting = StartFrameObserver()
        self.has_error = asyncio.Event()

    def show_pipeline(self, pipeline: PipelineWorker) -> None:
        for one in (pipeline, *pipelines_beside(pipeline)):
            one.add_event_handler("on_pipeline_error", self._keep)
        pipeline.add_observer(self.starting)
        super().show_pipeline(pipeline)

    async def _keep(self, pipeline: PipelineWorker, frame: ErrorFrame) -> None:
        is_covered = frame.processor is not None and has_substitute(frame.processor, pipeline.pipeline)
        if not is_covered and frame.category is not ErrorCategory.APPLICATION:
            self.errors.append(frame)
            self.has_error.set()


async def rehearse(name: str, bot: Bot, plan: NumberPlan, span: Span = NO_SPAN) -> Rehearsed:
    """Run the bot until its pipeline has started, look at it, and cancel. Raises nothing."""
    began_at = time.monotonic()
    rehearsing = asyncio.create_task(_rehearse(name, bot, plan, span), name=f"rehearsal:{name}")
    done = replace(await rehearsing, took_s=time.monotonic() - began_at)
    _log(done)
    return done


def _log(done: Rehearsed) -> None:
    log = get_logger(__name__)
    for remark in done.remarks:
        log.warning("the rehearsal shows", bot=done.bot, remark=remark)
    if done.verdict is Verdict.AWAY:
        log.warning("a provider is away at a rehearsal", bot=done.bot, fault=done.fault)
    elif done.fault:
        log.error("a bot failed its rehearsal", bot=done.bot, fault=done.fault)
    elif not done.hears:
        log.error(VAD_REMEDY, bot=done.bot)
    else:
        log.info("rehearsed", bot=done.bot, took_s=round(done.took_s, 2))


async def _rehearse(name: str, bot: Bot, plan: NumberPlan, span: Span) -> Rehearsed:
    span.enter()
    exits: list[BaseException] = []
    tasks = SessionTasks(bot=name, has_exited=exits.append)
    tasks.enter()
    record = CallRecord(
        "rehearsal", bot=name, direction="INBOUND", codec=plan.format.codec, sample_rate=plan.format.sample_rate
    )
    stream = RehearsalStream(plan)
    running = asyncio.create_task(_run(bot, record, stream), name="rehearsal:bot")
    try:
        seen = replace(await _look(name, stream, running), remarks=remarks_on(stream))
        return replace(seen, fault=f"it asked the process to exit: {exits[0]!r}") if exits else seen
    finally:
        await _end(stream, running)
        await tasks.end(0.5, CANCEL_S)


async def _run(bot: Bot, record: CallRecord, stream: CallStream) -> Rehearsed:
    """The bot, to its end; what it raised, in one line."""
    try:
        await bot(runner_arguments(record, stream, rehearsal=True))
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # whatever it is: it is named in the log, by the caller
        return Rehearsed(record.bot, explain(error), is_away=is_provider_away(error))
    return Rehearsed(record.bot)


async def _look(name: str, stream: RehearsalStream, running: asyncio.Task[Rehearsed]) -> Rehearsed:
    await _wait({stream.has_pipeline}, running, DEADLINE_S)
    if stream.pipeline is None:
        if stream.misuse:
            return Rehearsed(name, stream.misuse)
        if not running.done():
            return Rehearsed(name, f"it built no pipeline within {DEADLINE_S:g} s{_where(running)}")
        raised = _result(name, running)
        return replace(raised, fault=f"{raised.fault or NO_PIPELINE}{_for_a_carrier(stream)}")
    started = stream.watch.pipeline_started
    await _wait({started, stream.has_error}, running, START_S)
    if not started.is_set():
        await _wait({started}, running, ERROR_S)
    await asyncio.sleep(0 if running.done() else LINGER_S)
    hears = has_speech_detection(stream.pipeline.pipeline) or transport_detects_speech(stream.pipeline.pipeline)
    return replace(_judge(name, stream, running), hears=hears)


def _for_a_carrier(stream: CallStream) -> str:
    """A bot that asks which carrier calls is about to make that carrier's serializer, which has no use here."""
    return f"; {NOT_A_WEBSOCKET}" if stream.was_asked_who_calls else ""


def _judge(name: str, stream: RehearsalStream, running: asyncio.Task[Rehearsed]) -> Rehearsed:
    """The pipeline was built: what the bot raised, what failed in the pipeline, or nothing."""
    raised = _result(name, running) if running.done() else Rehearsed(name)
    if raised.fault:
        return raised
    if final := [error for error in stream.errors if is_final(error)]:
        return Rehearsed(name, _of_processor(final[0]))
    if away := [error for error in stream.errors if is_away(error)]:
        return Rehearsed(name, _of_processor(away[0]), is_away=True)
    if not stream.watch.pipeline_started.is_set():
        why = _of_processor(stream.errors[-1]) if stream.errors else f"the StartFrame stays at {stream.starting.at}"
        return Rehearsed(name, f"its pipeline did not start: {why}")
    return Rehearsed(name)


def _result(name: str, running: asyncio.Task[Rehearsed]) -> Rehearsed:
    return Rehearsed(name, "it was cancelled") if running.cancelled() else running.result()


def _of_processor(error: ErrorFrame) -> str:
    who = type(error.processor).__name__ if error.processor else "a processor"
    said = said_by_status(error) or (explain(error.exception) if error.exception else error.error)
    return f"{who}: {said[:LONGEST_FAULT]}"


def _where(task: asyncio.Task[Any]) -> str:
    """Where in the bot's own code the task waits; empty when none of it does."""
    waits_at = ""
    coroutine: Any = task.get_coro()
    while isinstance(coroutine, CoroutineType) and (frame := coroutine.cr_frame) is not None:
        if is_own(frame.f_code.co_filename):
            waits_at = f": it waits at {Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        coroutine = coroutine.cr_await
    return waits_at


def remarks_on(stream: CallStream) -> tuple[str, ...]:
    """What the transport noticed, and what the processors of the pipeline have to say of themselves."""
    processors = processors_in(stream.pipeline.pipeline) if stream.pipeline is not None else ()
    own = (remark for processor in processors for remark in getattr(processor, "remarks", list)())
    waits_in_vain = starved(stream.pipeline.pipeline) if stream.pipeline is not None else ()
    return (*stream.remarks, *own, *waits_in_vain)


async def _wait(events: set[asyncio.Event], running: asyncio.Task[Any], seconds: float) -> None:
    """Until one of them has happened, or the bot has ended, or there is no more time."""
    waiting = {asyncio.create_task(event.wait(), name="rehearsal:waiting") for event in events}
    await asyncio.wait({*waiting, running}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


async def _end(stream: CallStream, running: asyncio.Task[Any]) -> None:
    if stream.pipeline is not None and not (running.done() and stream.pipeline.has_finished()):
        await ask_all_to_cancel(stream.pipeline)
        await asyncio.wait({running}, timeout=CANCEL_S)
        if not running.done():
            await force(stream.pipeline)
            await asyncio.wait({running}, timeout=CANCEL_S)
    if stream.pipeline is not None:
        await close_clients(stream.pipeline)
    stream.end()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait({running}, timeout=CANCEL_S)
