"""What the gateway costs, alone on a core: answers beside a bare handler, relayed streams beside none, direct ones.

    make bench ARGS="gateway"                   everything, in three minutes
    make bench ARGS="gateway --json"            the last line is one JSON object
    make bench ARGS="gateway answers relay"     some of it

answers  answer webhooks at 200 a second: the gateway with its Redis, and a Starlette handler that runs one script
relay    50 calls' traffic through the gateway to an echo, and the same straight to the echo, in turn
direct   0, 25 and 50 calls through nginx, which only asks the gateway for the way

Redis, the echo, nginx and the client share the other core. Linux; two cores or more; nothing else should run.
"""

import argparse
import asyncio
import atexit
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from shared.process.progress import Progress
from tests.bench.gateway.asking import ask_steadily
from tests.bench.gateway.front import Front
from tests.bench.gateway.streams import under_calls
from tests.bench.machine import about
from tests.bench.subjects import Cores
from worker.capacity.figures import percentile, rounded
from worker.capacity.processes import cpu_s, put_back, put_first

ROUNDS = 3
PER_S, ASKED_S, WARM_S = 200.0, 5.0, 2.0
CALLS, MEASURED_S = 50, 10.0
DIRECT_CALLS, DIRECT_S = (0, 25, 50), 10.0

Say = Callable[[str], None]


async def answers(cores: Cores, say: Say) -> dict[str, Any]:
    """Rounds of both, one after the other: what else the machine does meets both."""
    found: dict[str, list[list[float]]] = {"gateway": [], "bare": []}
    cpu = dict.fromkeys(found, 0.0)
    async with Front(cores) as front:
        urls = {"bare": await front.start_bare(), "gateway": front.answer_url}
        pids = {"bare": [front.bare_pid], "gateway": [front.pid]}
        for name, url in urls.items():
            await ask_steadily(url, PER_S, WARM_S, f"warm-{name}-{time.time_ns()}")
        for number in range(ROUNDS):
            for name, url in urls.items():
                cpu[name] -= cpu_s(pids[name])
                took = await ask_steadily(url, PER_S, ASKED_S, f"bench-{name}-{time.time_ns()}")
                cpu[name] += cpu_s(pids[name])
                found[name].append([took_s * 1000 for took_s in took])
                say(f"answers: round {number + 1}: {name}: p50 {percentile(found[name][-1], 50):.2f} ms")
    told: dict[str, Any] = {"per_s": PER_S, "answers": sum(map(len, found["gateway"]))}
    for name, rounds in found.items():
        told[f"{name}_p50_ms"] = median(percentile(took, 50) or 0.0 for took in rounds)
        told[f"{name}_p99_ms"] = percentile([took for each in rounds for took in each], 99)
        told[f"{name}_cpu_ms_per_answer"] = cpu[name] * 1000 / sum(map(len, rounds))
    return told | {"p50_times_bare": told["gateway_p50_ms"] / told["bare_p50_ms"]}


async def relay(cores: Cores, say: Say) -> dict[str, Any]:
    """Through and straight in turn; the median of what was added in each round."""
    rounds = []
    async with Front(cores) as front:
        for number in range(ROUNDS):
            straight = under_calls(front, front.straight, CALLS, MEASURED_S)
            through = under_calls(front, front.target, CALLS, MEASURED_S)
            added = {
                "gateway_core_pct_per_call": through["gateway_core_pct_per_call"],
                "added_p50_ms": through["round_trip_p50_ms"] - straight["round_trip_p50_ms"],
                "added_p99_ms": through["round_trip_p99_ms"] - straight["round_trip_p99_ms"],
            }
            rounds.append({**added, "straight": straight, "through": through})
            say(f"relay: round {number + 1}: {', '.join(f'{name} {value:.2f}' for name, value in added.items())}")
    middle = {name: median(each[name] for each in rounds) for name in added}
    return {"calls": CALLS, **middle, "rounds": rounds}


async def direct(cores: Cores, say: Say) -> dict[str, Any]:
    """What the gateway has to do while streams go past it."""
    async with Front(cores, is_direct=True) as front:
        rows = [under_calls(front, front.target, calls, DIRECT_S) for calls in DIRECT_CALLS]
    for row in rows:
        say(f"direct: {row['calls']} calls: {row['gateway_core_pct']:.2f} % of a core")
    more_pct = rows[-1]["gateway_core_pct"] - rows[0]["gateway_core_pct"]
    return {"core_pct_by_calls": {row["calls"]: row["gateway_core_pct"] for row in rows}, "more_pct": more_pct}


PARTS = {"answers": answers, "relay": relay, "direct": direct}
WANTED: dict[str, dict[str, float]] = {
    "answers": {"p50_times_bare": 2.0, "gateway_p99_ms": 15.0},
    "relay": {"gateway_core_pct_per_call": 0.6, "added_p50_ms": 0.5, "added_p99_ms": 5.0},
    "direct": {"more_pct": 0.5},
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    given = parse(argv)
    say, machine, cores = Progress(), about(), Cores.of_this_machine()
    os.sched_setaffinity(0, {cores.load})
    if put_first(os.getpid()):
        atexit.register(put_back, os.getpid())

    report: dict[str, Any] = {"about": {**machine, "gateway_core": cores.subject, "load_core": cores.load}}
    for name in given.parts or PARTS:
        found = asyncio.run(PARTS[name](cores, say))
        report[name] = {key: rounded(value) for key, value in found.items()}
    print("\n".join(told(report)), file=sys.stderr)
    if given.json:
        print(json.dumps(report), flush=True)
    return 0


def told(report: dict[str, Any]) -> list[str]:
    """Each figure beside what is wanted."""
    return [
        f"{part}: {name} {report[part][name]} (wanted: at most {limit:g}){_judged(report[part][name], limit)}"
        for part, limits in WANTED.items()
        if part in report
        for name, limit in limits.items()
    ]


def _judged(value: float, limit: float) -> str:
    return "" if value <= limit else ": missed"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.gateway", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="answers, relay, direct; all if none is named")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    given = parser.parse_args(argv)
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return given


if __name__ == "__main__":
    sys.exit(main())
