"""Does a bot pass its rehearsal? `python -m worker rehearse` runs it, in a process of its own, and prints JSON."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from shared.cli.doctor.check import Check, fail, ok, warn
from shared.cli.fleet.environment import child_environment

WITHIN_S = 150.0  # models may have to be loaded
LAST_LINES = 5


async def check_rehearsal(bot: str) -> AsyncIterator[Check]:
    """How the rehearsal of one bot went, and what else it showed."""
    name = f"rehearsal of {bot}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "rehearse", bot),
        env=child_environment(with_settings=True),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            said, complaints = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        yield fail(name, f"it was not over within {WITHIN_S:g} s: does the bot block the process?")
        return
    found = _read(said)
    if found is None:
        last = b"\n".join(complaints.splitlines()[-LAST_LINES:]).decode(errors="replace")
        yield fail(name, f"it ended with status {process.returncode}: {last or 'it said nothing'}")
        return
    yield _judge(name, found)
    for remark in found["remarks"]:
        yield warn(name, remark)


def _judge(name: str, found: dict[str, Any]) -> Check:
    match found["verdict"]:
        case "ready":
            return ok(name, f"its pipeline started after {found['took_s']:.1f} s")
        case "away":
            return warn(name, found["fault"], "a provider is away: workers serve, and ask again until it is back")
        case _:
            return fail(name, found["fault"], "a worker that has no other bot would not be ready")


def _read(said: bytes) -> dict[str, Any] | None:
    try:
        (found,) = json.loads(said)["bots"]
    except (ValueError, KeyError, TypeError):
        return None
    return dict(found)
