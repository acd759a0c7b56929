"""`python -m worker.capacity.process CORE FILE`: a worker on one core, which writes how late its loop wakes.

The core is taken before anything is imported that starts threads: they stay on it, too.
"""

import dataclasses
import os
import sys

from shared.process.main import run_process
from shared.process.signals import Signals
from shared.settings import WorkerSettings
from worker.capacity.loop_lag import sample_this_loop
from worker.process import PROGRAM
from worker.process import serve_with_logs as serve


def main(core: str, file: str) -> int:
    """The process, to its exit status."""
    os.sched_setaffinity(0, {int(core)})

    async def serve_sampled(settings: WorkerSettings, signals: Signals) -> None:
        sample_this_loop(file)
        await serve(settings, signals)

    return run_process(dataclasses.replace(PROGRAM, work=serve_sampled), [])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
