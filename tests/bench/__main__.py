"""How many calls one core carries: this project, the application of Superfone's Pipecat guide, and a bare echo.

    python -m tests.bench --quick --json                  two knees and the echo, at most five minutes
    python -m tests.bench --plot bench.png --markdown     everything, about 40 minutes
    python -m tests.bench --workers                       two workers on one core against one; on two, where there are 4
    python -m tests.bench --subject ours-direct           its knee, and its figures with 20 calls
    python -m tests.bench --subject ours-direct --subject echo --hold 30 --json      only figures, with 30 calls
    python -m tests.bench gateway                         what the gateway costs; see its own --help

The knee is the largest number of calls with which the subject keeps to its objectives: event-loop lag p99 below
20 ms, no underrun at a 60 ms prebuffer, every interruption obeyed (p95 within 500 ms), every question answered
within 100 ms of what one call gets. A ramp of one call a second finds about where; holds of 20 s confirm.

Each subject is a real process on one core, with recognition, model and voice faked inside it; the load client has
another core and says how late it was. Progress and tables go to standard error. Linux; two cores or more; nothing
else should run.
"""

import argparse
import atexit
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from shared.process.progress import Progress
from tests.bench.machine import about
from tests.bench.plot import draw
from tests.bench.programme import ROUNDS, Programme, all_subjects, usual_subjects
from tests.bench.report import make_report, markdown, marked, rich_tables
from tests.bench.subjects import Cores
from worker.capacity.processes import put_back, put_first


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["gateway"]:
        from tests.bench.gateway.__main__ import main as measure_gateway

        return measure_gateway(words[1:])
    given = parse(words)
    say, machine, cores = Progress(), about(), Cores.of_this_machine()
    os.sched_setaffinity(0, {cores.load})
    if put_first(os.getpid()):
        atexit.register(put_back, os.getpid())  # the session may be that of a terminal, which goes on
    programme = Programme(cores, say, most=given.most, fixed=given.calls, seconds=given.seconds)
    if given.hold:
        programme.fixed(given.subject or ["ours-direct"], given.hold)
    elif given.workers:
        programme.workers()
    elif given.quick:
        programme.quick()
    else:
        programme.full(given.subject or usual_subjects(), given.rounds or (1 if given.subject else ROUNDS))
    pinned = {"subject_core": cores.subject, "load_core": cores.load}
    report = make_report(machine, programme.knees, programme.held, time.monotonic() - say.began_at, pinned)
    console = Console(stderr=True, width=220)
    for table in rich_tables(report):
        console.print(table)
    for name, value in report["ratios"].items():
        console.print(f"{name}: {marked(report, name, value)}", highlight=False)
    if given.plot:
        draw(report, given.plot)
        say(f"drawn: {given.plot}")
    if given.markdown:
        print(markdown(report))
    if given.json:
        print(json.dumps(report), flush=True)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round of two subjects and the echo")
    parser.add_argument("--workers", action="store_true", help="knees of one worker and of two, and nothing else")
    parser.add_argument(
        "--subject", action="append", default=[], choices=all_subjects(), metavar="NAME", help="%(choices)s; repeatable"
    )
    parser.add_argument("--hold", type=int, default=0, metavar="N", help="no knees: only figures with N calls")
    parser.add_argument("--seconds", type=float, default=20, metavar="S", help="of each measurement at a fixed number")
    parser.add_argument("--calls", type=int, default=20, metavar="N", help="the fixed number beside the knees")
    parser.add_argument("--most", type=int, default=120, metavar="N", help="calls at which a ramp ends")
    parser.add_argument("--rounds", type=int, default=0, metavar="R", help=f"of the subjects compared: {ROUNDS}")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--markdown", action="store_true", help="the tables, for a document")
    parser.add_argument("--plot", type=lambda name: Path(name).absolute(), metavar="FILE", help="draw them, as a PNG")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
