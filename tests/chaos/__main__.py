"""Real processes, a real Redis, a simulated carrier, and everything that can go wrong.

    python -m tests.chaos --quick                    every scene once, at most 12 minutes
    python -m tests.chaos --quick --json             the last line is one JSON object
    python -m tests.chaos                            the full run, about 50 minutes, at least 1,000 calls
    python -m tests.chaos --scene "worker killed" --path relayed --calls 8 --keep-logs /tmp/chaos
    python -m tests.chaos --list

The ledger is kept on the callers' side: offered = completed + refused by policy + dropped. A call is completed only
if its caller heard the right answers to its end; after a fault it asks the bot what it had told it before. Progress
goes to standard error. Exit status 1 when a promise is broken. Bounded, on loopback only; kills its own children only.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from shared.process.progress import Progress
from tests.chaos.programme import SCENES, scene_named
from tests.chaos.run import Run
from tests.chaos.tables import tell


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
    return tell(report, as_markdown=given.markdown, as_json=given.json)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="every scene once, short outages, at most 12 minutes")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--markdown", action="store_true", help="the table for docs/measured.md on standard output")
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


if __name__ == "__main__":
    sys.exit(main())
