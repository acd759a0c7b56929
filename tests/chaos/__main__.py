"""Real processes, a real Redis, a simulated carrier, and everything that can go wrong.

    python -m tests.chaos --quick                    every scene once, at most 10 minutes
    python -m tests.chaos --quick --json             the last line is one JSON object
    python -m tests.chaos                            the full run, about 40 minutes, at least 1,000 calls
    python -m tests.chaos --scene "worker killed" --path relayed --calls 8 --keep-logs /tmp/chaos
    python -m tests.chaos --list

The ledger is kept on the callers' side: offered = completed + refused by policy + dropped. A call is completed only
if its caller heard the right answers to its end; after a fault it asks the bot what it had told it before. Progress
goes to standard error. Exit status 1 when a promise is broken. Bounded, on loopback only; kills its own children only.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.chaos.programme import SCENES, scene_named
from tests.chaos.run import Run

COLUMNS = {
    "scene": "scene",
    "path": "path",
    "offered": "offered",
    "completed": "completed",
    "refused": "refused",
    "dropped": "dropped",
    "resumed": "resumed",
    "fresh": "fresh",
    "gap_p50_ms": "gap p50",
    "gap_p95_ms": "gap p95",
    "over_admitted": "over-admitted",
    "leaked_slots": "leaked slots",
    "drift": "drift",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    given = parse(argv)
    if given.list:
        for scene in SCENES:
            print(f"{scene.name:<28} {' and '.join(scene.paths):<20} {scene.what}")
        return 0
    paths = ["relayed", "direct"] if given.path == "both" else [given.path]
    with tempfile.TemporaryDirectory(prefix="sfvopi-chaos-") as temporary:
        run = Run(
            [scene_named(name) for name in given.scene] or SCENES,
            paths,
            Path(given.keep_logs or temporary, time.strftime("%Y%m%d-%H%M%S")),
            is_quick=given.quick,
            is_chosen=bool(given.scene),
            calls=given.calls,
            seed=given.seed,
            say=Progress(),
        )
        report = asyncio.run(run.play())
    show(report)
    if given.json:
        print(json.dumps(report), flush=True)
    return 0 if report["kept"] else 1


class Progress:
    """Lines on standard error, with the time since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {line}", file=sys.stderr, flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="every scene once, short outages, at most 10 minutes")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--scene", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--path", choices=("relayed", "direct", "both"), default="both", help="of the media")
    parser.add_argument("--calls", type=int, default=0, metavar="N", help="in each scene, instead of its own number")
    parser.add_argument("--seed", type=int, default=1, help="of what happens at random")
    parser.add_argument("--list", action="store_true", help="the scenes, and nothing else")
    parser.add_argument("--keep-logs", type=lambda name: Path(name).absolute(), metavar="DIR", help="of all processes")
    given = parser.parse_args(argv)
    for name in given.scene:
        try:
            scene_named(name)
        except KeyError:
            parser.error(f"no such scene: {name!r} (see --list)")
    return given


def show(report: dict[str, Any]) -> None:
    """The table, for people."""
    console = Console(stderr=True, width=150)
    table = Table(title="Chaos", title_justify="left")
    for name in COLUMNS.values():
        table.add_column(name, justify="left" if name in ("scene", "path") else "right")
    for row in report["scenes"]:
        if "skipped" in row:
            table.add_row(row["scene"], row["path"], row["skipped"], style="dim")
            continue
        is_bad = bool(row["broken"] or row["lost"] or row["leaked_slots"] or row["drift"] or row["over_admitted"])
        table.add_row(*(cell(row[key]) for key in COLUMNS), style="red" if is_bad else "")
    table.add_section()
    table.add_row(*(cell({"scene": "all", "path": ""}.get(key, report.get(key, ""))) for key in COLUMNS))
    console.print(table)
    for row in report["scenes"]:
        for what in row["broken"]:
            console.print(f"broken: {row['scene']} ({row['path']}): {what}", style="red")
        if expected := row["dropped_as_expected"]:
            console.print(f"lost, as expected: {row['scene']} ({row['path']}): {expected} calls", style="yellow")
    for what in report["logs_found"]:
        console.print(f"in a log: {what}", style="red")
    for what in report["failed"]:
        console.print(f"not played to its end: {what}", style="red")
    said = {True: "kept", False: "BROKEN", None: "not measured:"}
    promises = "  ".join(f"{said[is_kept]} {name}" for name, is_kept in report["promises"].items())
    console.print(promises)


def cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
