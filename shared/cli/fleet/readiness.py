"""Waiting for a fleet: every process is asked /readyz until it says ready, ends, or the time is up."""

import asyncio
from collections.abc import Mapping
from typing import Any

from shared.cli.api import FleetApi
from shared.cli.faults import CliFault
from shared.cli.fleet.child import Child
from shared.cli.fleet.log_files import read_lines, tell
from shared.cli.fleet.nginx import is_listening
from shared.cli.fleet.plan import FleetPlan
from shared.telemetry.health import Readiness

READY = str(Readiness.READY)
HOPELESS = {str(Readiness.BOT_FAILED), str(Readiness.SIDE_TASK_DIED)}
LOOK_EVERY_S = 0.1


class FleetFailed(CliFault):
    """A process of the fleet did not come up, or not in time; the message holds the end of its log."""


async def wait_until_ready(plan: FleetPlan, children: Mapping[str, Child], api: FleetApi, within_s: float) -> None:
    """Return when all are ready. Raises `FleetFailed`."""
    waiting: dict[str, str] = {name: "started" for name in children if name != "redis"}
    deadline = asyncio.get_running_loop().time() + within_s
    while waiting:
        for name, before in list(waiting.items()):
            if (status := children[name].status) is not None:
                raise FleetFailed(f"{name} ended with status {status} before it was ready:\n{log_tail(plan, name)}")
            said = await _state_of(plan, name, api)
            now = str(said.get("readiness", ""))
            if now and now != before:
                plan.on_progress(name, now)
                waiting[name] = now
            if now == READY:
                del waiting[name]
                for line in failed_bots(said):
                    plan.on_progress(name, f"cannot run {line}")
            elif now in HOPELESS:
                why = "\n".join(failed_bots(said)) or log_tail(plan, name)
                raise FleetFailed(f"{name} will not be ready ({now}):\n{why}")
        if waiting and asyncio.get_running_loop().time() > deadline:
            late = ", ".join(f"{name} ({what})" for name, what in waiting.items())
            tails = "\n".join(log_tail(plan, name) for name in waiting)
            raise FleetFailed(f"not ready after {within_s:g} s: {late}. Logs are in {plan.folder}\n{tails}")
        await asyncio.sleep(LOOK_EVERY_S)


def log_tail(plan: FleetPlan, name: str, lines: int = 8) -> str:
    """The last lines of a process' log, for people."""
    return "\n".join(tell(name, fields).strip() for fields in read_lines(plan.log_path(name))[-lines:])


def failed_bots(said: Mapping[str, Any]) -> list[str]:
    """The bots that a worker cannot run, a line each with the reason."""
    failed = said.get("bot_failed")
    return [f"{bot}: {reason}" for bot, reason in failed.items()] if isinstance(failed, dict) else []


async def _state_of(plan: FleetPlan, name: str, api: FleetApi) -> Mapping[str, Any]:
    """What its /readyz says; nothing when nobody answers."""
    if name == "nginx":
        return {"readiness": READY} if is_listening(plan.port) else {}
    if name in plan.worker_names:
        return await _worker_state(plan.worker_id(name), api)
    if name in plan.gateway_names:
        said = await api.state_of(plan.internal_url(name))
        is_this_generation = said.get("gateway_id") == plan.gateway_id(name)
        return said if is_this_generation else {}
    return await api.state_of(f"http://127.0.0.1:{plan.housekeeping_port}")


async def _worker_state(worker_id: str, api: FleetApi) -> Mapping[str, Any]:
    try:
        known = {worker["worker_id"]: worker for worker in await api.workers()}
    except CliFault:  # the gateway is not up yet
        return {}
    worker = known.get(worker_id)
    return await api.state_of(f"http://{worker['address']}") if worker else {}
