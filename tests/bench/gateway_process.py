"""`python -m gateway`, with its event loop sampled."""

import dataclasses
import sys

from gateway.__main__ import PROGRAM, serve
from shared.process.main import run_process
from shared.process.signals import Signals
from shared.settings import GatewaySettings
from worker.capacity.loop_lag import sample_this_loop


async def serve_sampled(settings: GatewaySettings, signals: Signals) -> None:
    sample_this_loop()
    await serve(settings, signals)


if __name__ == "__main__":
    sys.exit(run_process(dataclasses.replace(PROGRAM, work=serve_sampled)))
