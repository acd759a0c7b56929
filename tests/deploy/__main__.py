"""docker-compose.yml in a real engine: images built, calls placed through nginx with TLS, everything done to them.

    make test-deploy                                   with the engine that is here
    SETUP_ENGINE=1 make test-deploy                    as root on Debian: installs one, and removes it again
    python -m tests.deploy --json --keep-logs /tmp/deploy

Callers call all the while, and judge by what they hear; providers of speech are faked on this machine. Workers are
scaled 2 → 4 → 1, killed and frozen, gateways, nginx and housekeeping killed, Redis restarted, images upgraded by
rolling restart. Then everything is taken down. Exit status 0: nobody was dropped and nothing was left; 1: a promise
was broken; 0 with a line that says SKIPPED and why: no engine can run here.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.cli.fleet.child import Child
from shared.cli.fleet.environment import ROOT
from tests.chaos import log_search
from tests.chaos.ledger import SceneResult, total
from tests.chaos.tables import tell
from tests.deploy.bases import images_of_others
from tests.deploy.engine import Engine, NoEngine, engine
from tests.deploy.load import MANNER, Load
from tests.deploy.play import NotInTime, Play
from tests.deploy.shell import CommandFailed, say
from tests.deploy.stack import FLEET, Stack, host_address

FREE_WITHIN_S = 60.0
MOST_REFUSED = 0.1  # workers that start take both cores, and those that are late offer less


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    given = parse(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # whoever is told to end cleans up first
    with tempfile.TemporaryDirectory(prefix="sfvopi-deploy-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        try:
            with (
                engine(folder, may_install=os.environ.get("SETUP_ENGINE") == "1") as found,
                images_of_others(found, folder) as (env, left_out),
            ):
                report = asyncio.run(play(found, folder, env, left_out, given))
        except NoEngine as why:
            print(f"SKIPPED: no container engine: {why}", file=sys.stderr, flush=True)
            return 0
    return tell(report, as_markdown=given.markdown, as_json=given.json)


async def play(
    found: Engine, folder: Path, env: dict[str, str], left_out: list[str], given: argparse.Namespace
) -> dict[str, Any]:
    """The stack, from its start to its end."""
    began = time.monotonic()
    host = host_address(found)
    fakes = [sys.executable, "-m", "tests.fakes.providers", "--json", "--host", host, "--word", "0.12"]
    log = folder / "providers.log"
    providers = Child("providers", fakes, {**os.environ, "PYTHONPATH": str(ROOT)}, ROOT, log)
    await providers.start()
    broken: list[str] = []
    try:
        stack = Stack(found, folder, env, await told_by(log))
        os.environ["SSL_CERT_FILE"] = str(stack.certificate)  # of the callers, who are in this process
        load = Load(stack.urls, given.calls)
        scenes = Play(stack, load)
        images: dict[str, float] = {}
        try:
            await bring_up(stack, scenes)
            await scenes.watch()
            images = {image: size_of(found, image) for image in stack.images}
            await load.start()
            try:
                await scenes.all()
            except (NotInTime, CommandFailed) as failed:
                broken.append(f"{load.phase}: {failed}")
                say(f"BROKEN: {broken[-1]}")
            await load.stop()
            after = SceneResult("in the end", "direct")
            after.leaked_slots, after.freed_s = await slots_left(stack)
            after.drift = (await stack.ask("fleet") or {}).get("drift")
        finally:
            try:
                stack.keep_logs(folder / "logs")
                stack.keep_logs(Path(given.keep_logs, "logs")) if given.keep_logs else None
            finally:
                at = time.monotonic()
                stack.down()
                scenes.seconds["down"] = round(time.monotonic() - at, 1)
    finally:
        await providers.end(0)
    results = [*load.results(scenes.seconds), after]
    return judged(stack, load, results, scenes.seconds, broken, folder / "logs") | {
        "images_mb": images,
        "left_out": left_out,
        "seconds": round(time.monotonic() - began, 1),
    }


async def bring_up(stack: Stack, scenes: Play) -> None:
    for what, arguments in {
        "built": ("build", "--quiet", "gateway", "worker"),
        "up": ("up", "-d", "--no-build", *FLEET),
    }.items():
        began = time.monotonic()
        await stack.compose_beside(*arguments)
        if what == "up":
            await scenes.until_serving(2)
        scenes.seconds[what] = round(time.monotonic() - began, 1)
        say(f"{what}: {scenes.seconds[what]:g} s")


def judged(
    stack: Stack, load: Load, results: list[SceneResult], seconds: dict[str, float], broken: list[str], logs: Path
) -> dict[str, Any]:
    """The ledger, and what the logs hold."""
    hidden = {
        name: stack.secret(name) for name in ("SFVOPI_WEBHOOK_SECRETS", "SFVOPI_TOKEN_SECRETS", "SFVOPI_API_TOKEN")
    }
    found = log_search.search(logs, hidden, [caller.from_number for caller in load.callers])
    played = [result for result in results if result.callers]
    figures = total(played, found, MANNER.knobs.reconnect_after_s * 1000)
    last = results[-1]
    promises = {
        "ledger_balances": figures["promises"]["ledger_balances"],
        "none_dropped": figures["promises"]["none_dropped"],
        "few_refused": figures["refused"] <= MOST_REFUSED * figures["offered"],
        "no_slot_leaked": last.leaked_slots == 0,
        "no_drift": last.drift == 0,
        "clean_logs": not found,
        "scenes": not broken,
    }
    return {
        **figures,
        "leaked_slots": last.leaked_slots,
        "drift": last.drift,
        "promises": promises,
        "not_measured": [],
        "kept": all(promises.values()),
        "failed": broken,
        "seconds_of": seconds,
        "scenes": [result.to_dict() | {"leaked_slots": 0, "drift": 0, "over_admitted": 0} for result in played],
    }


async def slots_left(stack: Stack) -> tuple[int | None, float]:
    """Slots that are still taken with nobody calling, and how long that was waited for."""
    began = time.monotonic()
    used: int | None = None
    while time.monotonic() - began < FREE_WITHIN_S:
        used = (await stack.ask("fleet") or {}).get("used")
        if used == 0:
            break
        await asyncio.sleep(0.3)
    return used, round(time.monotonic() - began, 1)


def size_of(found: Engine, image: str) -> float:
    return round(int(found.docker("image", "inspect", image, "--format", "{{.Size}}")) / 1e6)


async def told_by(log: Path) -> dict[str, str]:
    """The environment that leads to the fake providers."""
    async with asyncio.timeout(20):
        while True:
            first, newline, _ = (log.read_text() if log.exists() else "").partition("\n")
            if newline:
                return dict(json.loads(first)["env"])
            await asyncio.sleep(0.1)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.deploy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--markdown", action="store_true", help="the table for docs/measured.md on standard output")
    parser.add_argument("--calls", type=int, default=6, metavar="N", help="at once")
    parser.add_argument("--keep-logs", default="", metavar="DIR", help="of all containers")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
