"""A fleet under load has a bad day, and a real Prometheus watches: does every panel move, does every alert fire?

    python -m tests.monitoring [--scale 30] [--json] [--keep FOLDER]

Gateway, two workers, housekeeping and Redis as processes; Prometheus finds them through the gateway, evaluates the
committed rules with all durations divided by the scale, and tells Alertmanager, which tells us. Exit status 0 only if
every process was scraped, every panel's query had data and what should move did, every alert that can be provoked
fired and was sent to its receiver, and single calls can be found by their exemplars. Without Prometheus: 2.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from deploy.monitoring.alerts import alerts
from deploy.monitoring.promql import Clock
from shared.cli.fleet import LocalFleet
from tests.documents import ROOT
from tests.fakes.providers import FakeProviders
from tests.monitoring.acts import ACTS, LEASE_S, ONLY_BY_PROMTOOL, RECONNECT_S, Day
from tests.monitoring.callers import BOTS_FILE, FORGETFUL, FRONT_DESK, calling
from tests.monitoring.expiring import another_housekeeping, tls_server
from tests.monitoring.panels_seen import Seen, look_at_panels
from tests.monitoring.watchers import Watchers, watch
from tests.outcome import tell

PROGRAMS = ("prometheus", "prometheus-alertmanager")
SETTINGS = {
    "SFVOPI_CALLS_PER_WORKER": "3",
    "SFVOPI_LEASE_S": str(LEASE_S),
    "SFVOPI_LAG_LIMIT_MS": "0",  # a worker that lags shall have calls, for them to be heard stuttering
    "SFVOPI_RECONNECT_WINDOW_S": str(RECONNECT_S),
    "SFVOPI_HOLD_MAX_S": "10",
    "SFVOPI_GREETING_PATIENCE_S": "4",  # a day is short: so is a call whose voice refuses it
    "PYTHONPATH": str(ROOT),
}
SEVERITY = {alert.name: alert.severity for alert in alerts(Clock())}
RECEIVERS = {"critical": "page", "warning": "chat"}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def run(scale: float, keep: Path | None) -> dict[str, Any]:
    """The day, from morning to evening. `keep`: where Prometheus' data shall stay."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bots.toml").write_text(BOTS_FILE)
        async with FakeProviders() as providers, tls_server(folder, timedelta(hours=1)) as wss_url:
            env = {**providers.env, **SETTINGS, "SFVOPI_BOTS": str(folder / "bots.toml")}
            async with (
                LocalFleet(workers=2, bot="tests.fleet.bots:receptionist", env=env) as fleet,
                another_housekeeping(fleet.environment("housekeeping"), wss_url, folder / "another.log"),
                watch(folder, keep or folder / "data", fleet.api_url, fleet.api_token, scale) as watchers,
            ):
                async with calling(fleet, FRONT_DESK, FORGETFUL):
                    fired = await play(day := Day(fleet, providers), watchers)
                await asyncio.sleep(5)  # the last figures are scraped
                seen = await look_at_panels(watchers, time.time() - watchers.began_at)
                return await report(watchers, fired, seen, day.faults)


async def play(day: Day, watchers: Watchers) -> dict[str, float]:
    """All acts; seconds until each alert fired."""
    fired: dict[str, float] = {}
    for act in ACTS:
        say(f"— {act.name}")
        came: dict[str, float] = {}
        try:
            async with act.doing(day):
                came = await watchers.until_firing(*act.alerts, within_s=act.within_s)
        except Exception as error:  # the rest of the day shall be seen all the same
            say(f"  the act failed: {error!r}")
            day.faults.append(f"{act.name}: {error!r}")
        for name in act.alerts:
            say(f"  {name}: " + (f"fired after {came[name]:g} s" if name in came else "DID NOT FIRE"))
        fired |= came
    return fired


async def report(watchers: Watchers, fired: dict[str, float], seen: list[Seen], faults: list[str]) -> dict[str, Any]:
    """What was found; `wrong` holds all that should be otherwise."""
    wanted = {name for act in ACTS for name in act.alerts}
    assert wanted | set(ONLY_BY_PROMTOOL) == set(SEVERITY), "an alert is in no act"
    scraped = {
        labels.removeprefix("component=")
        for labels, points in (await watchers.range("count by (component) (up == 1)")).items()
        if points
    }
    exemplars = await watchers.ask(
        "query_exemplars", query="sfvopi_turn_seconds_bucket", start=watchers.began_at, end=time.time()
    )
    calls = {dot["labels"]["call_id"] for each in exemplars for dot in each["exemplars"]}
    told = watchers.kept_back.union(*watchers.told.values())
    not_told = [name for name in fired if name not in told]
    astray = {
        name for receiver, names in watchers.told.items() for name in names if RECEIVERS[SEVERITY[name]] != receiver
    }
    wrong = [
        *faults,
        *(f"{name} did not fire" for name in sorted(wanted - set(fired))),
        *(f"{name} was sent to nobody" for name in not_told),
        *(f"{name} was sent to the wrong receiver" for name in sorted(astray)),
        *(f"{each.board}: {each.panel.title}: {each.fault}" for each in seen if each.fault),
        *(f"no {name} was scraped" for name in sorted({"gateway", "worker", "housekeeping"} - scraped)),
    ]
    if not calls:
        wrong.append("no exemplar names a call")
    return {
        "seconds": round(time.time() - watchers.began_at),
        "panels": len(seen),
        "panels_that_moved": sum(_moves(each) for each in seen),
        "fired_after_s": fired,
        "sent_to": {name: sorted(names) for name, names in watchers.told.items()},
        "kept_back": sorted(watchers.kept_back),
        "only_by_promtool": list(ONLY_BY_PROMTOOL),
        "calls_named_by_exemplars": len(calls),
        "wrong": wrong,
        "passed": not wrong,
    }


def _moves(seen: Seen) -> bool:
    return any(len({value for _, value in line}) > 1 for points in seen.queries for line in points.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=30, help="by which all durations of the rules are divided")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--keep", type=Path, help="an empty folder where Prometheus' data stays, to be drawn")
    given = parser.parse_args()
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        say(f"NOT RUN: {' and '.join(missing)} not installed (apt: prometheus, prometheus-alertmanager)")
        return 2
    return tell(asyncio.run(run(given.scale, given.keep)), as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
