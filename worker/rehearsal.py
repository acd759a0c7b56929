"""Every bot once, before the first call: its pipeline is built and set up against a stream without a caller.

That warms what a first call would wait for (imports, models, connections), and finds what no error would show: a
pipeline without speech detection. The bot sees `runner_args.body["rehearsal"]` and may leave out what counts.
"""

import asyncio
import time
from dataclasses import dataclass, replace

from shared.calls.record import CallRecord
from shared.settings.numbers import NumberPlan
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from shared.telemetry.traces import NO_SPAN, Span
from worker.bot_faults import explain
from worker.bot_loader import Bot
from worker.observing import CallWatch
from worker.pipeline.anatomy import VAD_REMEDY, has_speech_detection, processors_in
from worker.pipeline.finish import ask_to_cancel, close_clients, force
from worker.session import runner_arguments
from worker.stream import CallStream
from worker.tasks import SessionTasks

DEADLINE_S = 60.0  # models may have to be loaded
START_S = 20.0  # from the pipeline's being built to its start
CANCEL_S = 3.0


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """How it went: the fault in one line, or none; and whether the caller's speech would be noticed."""

    bot: str
    fault: str = ""
    hears: bool = False
    took_s: float = 0.0
    remarks: tuple[str, ...] = ()  # what its developer should know: handlers that are never called, and the like


async def rehearse(name: str, bot: Bot, plan: NumberPlan, span: Span = NO_SPAN) -> Rehearsed:
    """Run the bot until its pipeline has started, look at it, and cancel. Raises nothing."""
    began_at = time.monotonic()
    log = get_logger(__name__)
    rehearsing = asyncio.create_task(_rehearse(name, bot, plan, span), name=f"rehearsal:{name}")
    done = await rehearsing
    took_s = time.monotonic() - began_at
    for remark in done.remarks:
        log.warning("the rehearsal shows", bot=name, remark=remark)
    if done.fault:
        log.error("a bot failed its rehearsal", bot=name, fault=done.fault)
    elif not done.hears:
        log.error(VAD_REMEDY, bot=name)
    else:
        log.info("rehearsed", bot=name, took_s=round(took_s, 2))
    return replace(done, took_s=took_s)


async def _rehearse(name: str, bot: Bot, plan: NumberPlan, span: Span) -> Rehearsed:
    span.enter()
    exits: list[BaseException] = []
    tasks = SessionTasks(bot=name, has_exited=exits.append)
    tasks.enter()
    record = CallRecord(
        "rehearsal", bot=name, direction="INBOUND", codec=plan.format.codec, sample_rate=plan.format.sample_rate
    )
    # its figures are nobody's: a meter of its own
    stream = CallStream("rehearsal", plan.format, CallWatch(Meter("worker"), lambda: 0))
    stream.is_rehearsal = True
    running = asyncio.create_task(_run(bot, record, stream), name="rehearsal:bot")
    try:
        seen = replace(await _look(name, stream, running), remarks=remarks_on(stream))
        return replace(seen, fault=f"it asked the process to exit: {exits[0]!r}") if exits else seen
    finally:
        await _end(stream, running)
        await tasks.end(0.5, CANCEL_S)


async def _run(bot: Bot, record: CallRecord, stream: CallStream) -> str:
    """The bot, to its end; what it raised, in one line."""
    try:
        await bot(runner_arguments(record, stream, rehearsal=True))
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # whatever it is: it is named in the log, by the caller
        return explain(error)
    return ""


async def _look(name: str, stream: CallStream, running: asyncio.Task[str]) -> Rehearsed:
    await _wait(stream.has_pipeline, running, DEADLINE_S)
    if stream.pipeline is None:
        fault = (running.result() or "it ended without a pipeline") if running.done() else "it built no pipeline"
        return Rehearsed(name, stream.misuse or fault)
    await _wait(stream.watch.pipeline_started, running, START_S)
    hears = has_speech_detection(stream.pipeline.pipeline)
    if not stream.watch.pipeline_started.is_set():
        fault = running.result() if running.done() else ""
        return Rehearsed(name, fault or "its pipeline did not start", hears)
    return Rehearsed(name, hears=hears)


def remarks_on(stream: CallStream) -> tuple[str, ...]:
    """What the transport noticed, and what the processors of the pipeline have to say of themselves."""
    processors = processors_in(stream.pipeline.pipeline) if stream.pipeline is not None else ()
    own = (remark for processor in processors for remark in getattr(processor, "remarks", list)())
    return (*stream.remarks, *own)


async def _wait(event: asyncio.Event, running: asyncio.Task[str], seconds: float) -> None:
    """Until it has happened, or the bot has ended, or there is no more time."""
    waiting = asyncio.create_task(event.wait(), name="rehearsal:waiting")
    await asyncio.wait({waiting, running}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


async def _end(stream: CallStream, running: asyncio.Task[str]) -> None:
    if stream.pipeline is not None and not running.done():
        await ask_to_cancel(stream.pipeline)
        await asyncio.wait({running}, timeout=CANCEL_S)
        if not running.done():
            await force(stream.pipeline)
            await asyncio.wait({running}, timeout=CANCEL_S)
    if stream.pipeline is not None:
        await close_clients(stream.pipeline)
    stream.end()
    running.cancel()
    await asyncio.wait({running}, timeout=CANCEL_S)
