"""`python -m worker`, the part that works: one worker process."""

import asyncio
import sys
from typing import Any

from shared.process.beats import Beats
from shared.process.main import Program, run_process
from shared.process.signals import Signals
from shared.registry import open_registry
from shared.settings import WorkerSettings
from worker.memory import freeze_what_stays
from worker.tls import new_event_loop

EXAMPLES = """\
examples:
  SFVOPI_TOKEN_SECRETS=… SFVOPI_BOT=my_bots.front_desk:bot python -m worker
  SFVOPI_CALLS_PER_WORKER=20 SFVOPI_WORKER_ID=worker-1 python -m worker
  kill -TERM PID      take no new calls, finish the live ones, then exit; twice: exit now
  kill -USR1 PID      every task into the log
"""


async def serve(settings: WorkerSettings, signals: Signals) -> None:
    """Until told to end, and its calls are over."""
    beats = Beats()
    # importing Pipecat takes a second and writes a banner: after the logs are ours
    from worker.pipecat_logs import route_pipecat_logs

    route_pipecat_logs(settings.pipecat_log_level)
    from worker.app import WorkerApp

    registry = open_registry(settings.redis_url.get_secret_value(), settle_ms=settings.settle_ms)
    app = WorkerApp(settings, registry)
    beating: asyncio.Task[None] | None = None
    try:
        starting = asyncio.create_task(app.start(), name="start")
        await _first(starting, asyncio.create_task(signals.draining.wait()))
        if starting.done():
            starting.result()
            freeze_what_stays()
            beating = asyncio.create_task(beats.keep_beating(settings.watchdog_s), name="beats")
            await signals.draining.wait()
            draining = asyncio.create_task(app.drain(), name="drain")
            await _first(draining, asyncio.create_task(signals.stopping.wait()))
    finally:
        await app.stop()
        await registry.close()
        if beating is not None:
            beating.cancel()
        beats.stop()


async def _first(work: asyncio.Task[Any], signal: asyncio.Task[Any]) -> None:
    """Wait for the work or the signal, whichever comes first; what comes later is given up."""
    await asyncio.wait({work, signal}, return_when=asyncio.FIRST_COMPLETED)
    late = [task for task in (work, signal) if not task.done()]
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)


PROGRAM = Program(
    "worker",
    "Answers the streams of calls with Pipecat bots.",
    EXAMPLES,
    WorkerSettings,
    serve,
    lambda settings: settings.worker_id,
    new_event_loop,
)

if __name__ == "__main__":
    sys.exit(run_process(PROGRAM))
