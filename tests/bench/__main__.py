"""How many calls one core carries: this project, the application of Superfone's Pipecat guide, and a bare echo.

    python -m tests.bench --subject ours-direct --hold 20 --json       figures with 20 calls

Every subject is a real process on one core; the load client has another one.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from tests.bench.hold import hold
from tests.bench.machine import about
from tests.bench.subjects import MAKERS, Cores


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    given = parse(argv)
    report: dict[str, Any] = {"about": about()}
    cores, say = Cores.of_this_machine(), Progress()
    os.sched_setaffinity(0, {cores.load})
    report["held"] = {
        name: asyncio.run(hold(name, cores, given.hold, given.seconds, say))
        for name in given.subject or ["ours-direct"]
    }
    for name, figures in report["held"].items():
        for key, value in figures.items():
            print(f"{name:>20} {key:<28} {value}", file=sys.stderr)
    if given.json:
        print(json.dumps(report), flush=True)
    return 0


class Progress:
    """Lines on standard error, with the time since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {line}", file=sys.stderr, flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subject", action="append", default=[], choices=sorted(MAKERS), help="repeatable")
    parser.add_argument("--hold", type=int, default=20, metavar="N", help="figures with N calls")
    parser.add_argument("--seconds", type=float, default=20, metavar="S", help="for how long")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
