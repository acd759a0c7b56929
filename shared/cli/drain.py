"""`sfvopi drain`: one worker takes no new calls and leaves after its last one; its progress until it is gone."""

import asyncio
import time
from typing import Annotated, Any

import typer

from shared.cli.api import FleetApi
from shared.cli.faults import reported
from shared.cli.reach import ApiOption, JsonOption, reach
from shared.cli.terminal import say, show, show_json

LOOK_EVERY_S = 0.5

WorkerId = Annotated[str, typer.Argument(metavar="WORKER", help="The worker's id, as `sfvopi workers` lists it.")]


@reported
async def drain(
    worker_id: WorkerId,
    handover: Annotated[
        bool, typer.Option("--handover", help="Move live calls to other workers, in seconds, where that is possible.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it until the worker is gone.")] = True,
    as_json: JsonOption = False,
    api: ApiOption = "",
) -> None:
    """Take a worker out of service: no new calls, live ones finish, then its process ends.

    With --handover live calls go on at other workers, with their conversations: relayed ones, and those of a carrier
    that is known to reconnect (SFVOPI_CARRIER_RECONNECTS); the others finish. Whatever keeps processes up (`sfvopi up`,
    a container's restart policy) starts a new worker in its place.

    \b
    Examples:
      sfvopi drain worker-2
      sfvopi drain worker-2 --handover
      sfvopi drain worker-2 --no-wait --json
    """
    began_at = time.monotonic()
    async with reach(api) as fleet:
        told = await fleet.drain(worker_id, handover)
        is_gone = await _follow(fleet, told) if wait else False
    took_s = round(time.monotonic() - began_at, 1)
    if as_json:
        return show_json({"worker_id": worker_id, "handover": handover, "gone": is_gone, "took_s": took_s})
    return show(f"{worker_id} is gone, after {took_s:g} s" if is_gone else f"{worker_id} drains; see `sfvopi workers`")


async def _follow(fleet: FleetApi, told: dict[str, Any]) -> bool:
    """Until this start of the worker is gone; each change is told."""
    last = ""
    while True:
        found = {worker["worker_id"]: worker for worker in await fleet.workers()}
        worker = found.get(told["worker_id"])
        if worker is None or worker.get("started_at_ms") != told.get("started_at_ms"):
            return True
        if (line := progress(worker)) != last:
            last = line
            say(f"{told['worker_id']}: {line}")
        await asyncio.sleep(LOOK_EVERY_S)


def progress(worker: dict[str, Any]) -> str:
    """One worker's state in words: what it does, with how many calls, for how long still."""
    calls = f"{worker['used']} {'call' if worker['used'] == 1 else 'calls'}"
    return f"{state_of(worker)}, {calls}"


def state_of(worker: dict[str, Any]) -> str:
    """Its state for people; while it drains, with the time that is expected to be left."""
    state = str(worker["state"])
    if not worker.get("fresh", True):
        return f"silent (was {state})"
    if state == "draining" and worker.get("eta_s") is not None:
        return f"draining, {about(worker['eta_s'])} left"
    return state


def about(seconds: float) -> str:
    """A time that is only expected: 40 s, 3 min, 2 h."""
    if seconds < 90:
        return f"about {-(-seconds // 10) * 10:.0f} s" if seconds > 10 else "some seconds"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.0f} h"
