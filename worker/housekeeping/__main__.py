"""`python -m worker.housekeeping`: close call records, reap what dead workers left, apply retention."""

import sys

from shared.process.main import Program, run_process
from shared.process.signals import Signals
from shared.settings import HousekeepingSettings
from worker.housekeeping.process import Housekeeping

EXAMPLES = """\
examples:
  REDIS_URL=redis://10.0.0.5:6379/0 python -m worker.housekeeping
  SFVOPI_HOUSEKEEPING_PORT=9201 SFVOPI_RETENTION_S=86400 python -m worker.housekeeping     # two may run side by side
  kill -TERM PID      finish the jobs that run, then exit; twice: exit now
  kill -USR1 PID      every task into the log
"""


async def work(settings: HousekeepingSettings, signals: Signals) -> None:
    """Until told to end."""
    await Housekeeping(settings).run(signals)


PROGRAM = Program(
    "worker.housekeeping",
    "Closes call records, ends what dead workers left, applies retention. Calls never wait for it.",
    EXAMPLES,
    HousekeepingSettings,
    work,
)

if __name__ == "__main__":
    sys.exit(run_process(PROGRAM))
