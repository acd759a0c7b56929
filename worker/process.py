"""`python -m worker`, the part that works: one worker process."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from shared.fleet.death import DeathCause, DeathNote
from shared.process.beats import Beats
from shared.process.exit import exit_within
from shared.process.last_words import LastWords
from shared.process.main import Program, process_id, run_process
from shared.process.memory import RARELY, freeze_what_stays
from shared.process.signals import Signals
from shared.registry import Registry, RegistryAway, open_registry
from shared.settings import WorkerSettings
from shared.telemetry.traces import open_tracer
from worker.tasks import install_task_factory, whose
from worker.tls import new_event_loop

if TYPE_CHECKING:
    from worker.app import WorkerApp
    from worker.own_process import OwnProcess

EXAMPLES = """\
examples:
  SFVOPI_TOKEN_SECRETS=… SFVOPI_BOT=my_bots.front_desk:bot python -m worker
  SFVOPI_CALLS_PER_WORKER=20 SFVOPI_WORKER_ID=worker-1 python -m worker
  kill -TERM PID      take no new calls, finish the live ones, then exit; twice: hand over what
                      can be, cut the rest; kill -INT PID: exit now
  kill -USR1 PID      every task into the log
"""

EXIT_S = 5.0  # for what bots left running, once all is said


async def serve_with_logs(settings: WorkerSettings, signals: Signals) -> None:
    """`serve`, with all that bots and libraries write in our log."""
    from worker.bot_logs import logs_of_bots

    with logs_of_bots(settings):
        await serve(settings, signals)


async def serve(settings: WorkerSettings, signals: Signals) -> None:
    """Until told to end, and its calls are over."""
    beats = Beats()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for numpy, when it comes: a worker has one core
    # importing Pipecat takes a second and writes a banner: after the logs are ours
    from worker.app import WorkerApp
    from worker.own_process import OwnProcess

    registry = open_registry(settings.redis_url.get_secret_value(), settle_ms=settings.settle_ms)
    tracer = open_tracer(settings, "worker", process_id(settings.worker_id))
    install_task_factory(asyncio.get_running_loop())
    own = OwnProcess()
    app = WorkerApp(settings, registry, tracer=tracer, look_after=own.look_after)
    own.bots = app.bots_here
    last_words = _introduce(app, beats)
    try:
        await _work(app, signals, own, beats)
    finally:
        await _say_that_it_ended(app, registry)
        await registry.close()
        await tracer.close()
        last_words.stop()
        exit_within(EXIT_S, status=0 if signals.draining.is_set() else 1)


async def _work(app: "WorkerApp", signals: Signals, own: "OwnProcess", beats: Beats) -> None:
    """Start, take calls, drain as the signals say, and stop in any case."""
    beside = [asyncio.create_task(own.keep_looking(), name="own process")]
    with own:
        try:
            starting = await _unless(signals.draining, app.start(when_prepared=partial(_prepared, own)))
            if not starting.cancelled():
                starting.result()
                beside.append(asyncio.create_task(beats.keep_beating(app.settings.watchdog_s), name="beats"))
                beside.append(asyncio.create_task(_obey(app.until_ordered(), signals), name="orders"))
                await signals.draining.wait()
                await _unless(signals.stopping, app.drain())
                await _unless(signals.cutting, app.hand_over())
        finally:
            await app.stop()
            for task in beside:
                task.cancel()
            beats.stop()


def _prepared(own: "OwnProcess") -> None:
    """Everything is loaded that stays."""
    freeze_what_stays(RARELY)
    own.keep()


def _introduce(app: "WorkerApp", beats: Beats) -> LastWords:
    """Tell the watchdog who we are: when we are dead, it says of what in our place."""
    last_words = LastWords(beats.say, whose)
    if beats.has_watchdog:
        last_words.listen()
    settings, who = app.settings, app.describe()
    beats.say(
        {
            "worker_id": who.worker_id,
            "started_at_ms": who.started_at_ms,
            "redis_url": settings.redis_url.get_secret_value(),
            "memory_limit_mb": settings.memory_limit_mb,
            "has_last_words": last_words.can_be_heard,
        }
    )
    return last_words


async def _say_that_it_ended(app: "WorkerApp", registry: Registry) -> None:
    who = app.describe()
    with contextlib.suppress(RegistryAway):
        note = DeathNote(who.worker_id, who.started_at_ms, registry.now_ms(), DeathCause.ENDED)
        await registry.record_death(note)


async def _obey(order: Coroutine[Any, Any, None], signals: Signals) -> None:
    """An operator's order is what the first SIGTERM is; after that one it is nothing new."""
    await order
    if not signals.draining.is_set():
        signals.drain()


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Do the work, unless the event comes first: then it is given up."""
    working, waiting = asyncio.create_task(work), asyncio.create_task(event.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    late = [task for task in (working, waiting) if not task.done()]
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
    return working


PROGRAM = Program(
    "worker",
    "Answers the streams of calls with Pipecat bots.",
    EXAMPLES,
    WorkerSettings,
    serve_with_logs,
    lambda settings: settings.worker_id,
    new_event_loop,
)

if __name__ == "__main__":
    sys.exit(run_process(PROGRAM))
