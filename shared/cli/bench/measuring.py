"""A fleet of one worker with the user's bot, under load: the worker alone on a core, all else on another one.

The worker and the search for its knee are `python -m worker.capacity…`, processes like any other here.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.cli.faults import CliFault
from shared.cli.fleet import LocalFleet
from shared.cli.fleet.environment import ROOT, child_environment
from shared.cli.fleet.plan import Programs
from shared.cli.terminal import say

STOP_WITHIN_S = 5
READY_WITHIN_S = 180  # models may have to be loaded


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a measurement may use: calls at once, minutes of all calls together, seconds until the last hold ends."""

    most: int
    call_minutes: float
    within_s: float


async def measure(bot: str, bounds: Bounds, memory_mb: float) -> dict[str, Any]:
    """What `python -m worker.capacity` found. Raises `CliFault`, which says where the worker's log is."""
    worker_core, load_core = _cores()
    os.sched_setaffinity(0, {load_core})  # and with us all that we start, but for the worker
    fleet = _fleet(bot, bounds.most, worker_core)
    async with fleet:
        pid = fleet.pid("worker-1")
        argv = [
            *(sys.executable, "-m", "worker.capacity"),
            *("--answer-url", fleet.answer_url, "--hangup-url", fleet.hangup_url),
            *("--route-url", f"{fleet.api_url}/route", "--pid", str(pid)),
            *("--core", str(worker_core), "--load-core", str(load_core)),
            *("--lag-file", str(_lag_file(fleet.folder)), "--memory-mb", str(memory_mb)),
            *("--most", str(bounds.most), "--call-minutes", str(bounds.call_minutes)),
            *("--within", str(bounds.within_s)),
        ]
        async with _process(argv) as search:
            out, _ = await search.communicate()
        if search.returncode or not out:
            raise CliFault(f"the measurement failed, see above; the worker's log is {fleet.log_path('worker-1')}")
        found: dict[str, Any] = json.loads(out)
        if not found["calls"]:
            raise CliFault(
                f"not even one call was held: {found['why']}. The worker's log is {fleet.log_path('worker-1')}; "
                "`sfvopi doctor` and `sfvopi call` tell more"
            )
    return found


def _fleet(bot: str, most: int, worker_core: int) -> LocalFleet:
    """The user's settings, but for what would come between the client and the worker."""
    fleet = LocalFleet(
        workers=1,
        housekeeping=False,
        bot=bot,
        webhook_secret="measured",  # noqa: S106  the user's own, if there is one, is not needed on this machine
        keep_settings=True,
        ready_within_s=READY_WITHIN_S,
        stop_within_s=STOP_WITHIN_S,
        on_progress=lambda process, what: say(f"  {process:<14}{what}", style="dim"),
        env={
            "SFVOPI_CALLS_PER_WORKER": str(most + 1),
            "SFVOPI_LAG_LIMIT_MS": "0",  # what is too much is judged by the measurement
            "SFVOPI_MEDIA_PATH": "direct",  # the gateway only shows the way
            "SFVOPI_OVERFLOW": "reject",
            "SFVOPI_CEILING": "0",
            "SFVOPI_CODEC": "PCMA",
            "SFVOPI_SAMPLE_RATE": "8000",
            "SFVOPI_ALLOWED_SOURCES": "127.0.0.0/8",
            "SFVOPI_MAX_CALL_S": "3600",
            "SFVOPI_WORKER_HOST": "127.0.0.1",
            "SFVOPI_WORKER_PORT": "0",
            "SFVOPI_WORKER_ADDRESS": "",
            "SFVOPI_WORKER_NETWORKS": "127.0.0.0/8",
        },
    )
    numbers = fleet.folder / "no-numbers.toml"  # every number is the bot's
    numbers.touch()
    fleet.env = {**fleet.env, "SFVOPI_BOTS": str(numbers)}
    argv = (sys.executable, "-m", "worker.capacity.process", str(worker_core), str(_lag_file(fleet.folder)))
    fleet.programs = Programs(worker=argv)
    return fleet


def _lag_file(folder: Path) -> Path:
    return folder / "worker-1.lag"


def _cores() -> tuple[int, int]:
    """The worker's core, and that of all else. Raises `CliFault` where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise CliFault("two cores are needed: one for the worker, one for the callers, who would disturb it")
    return cores[0], cores[1]


@contextlib.asynccontextmanager
async def _process(argv: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that does not outlive us; its progress is ours."""
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=ROOT, env=child_environment(with_settings=False), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
