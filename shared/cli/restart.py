"""`sfvopi restart`: every process of the fleet that `sfvopi up` runs in this folder is replaced, one after another.

`up` does it, on SIGHUP, and writes down how far it is; this command asks for it, watches, and tells.
"""

import json
import os
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from shared.cli.faults import BAD_USAGE, CliFault, reported
from shared.cli.reach import HOME, JsonOption, RunFile
from shared.cli.terminal import say, show, show_json

LOOK_EVERY_S = 0.2


@dataclass
class Progress:
    """How far a restart is; `up` writes it, whole, at every step. `wish` is the request that it answers."""

    wish: str
    replaced: list[str] = field(default_factory=list)
    leaving: int = 0  # older processes that finish their calls
    is_done: bool = False
    fault: str = ""

    def write(self, home: Path = HOME) -> None:
        part = _path(home).with_suffix(".part")
        part.write_text(json.dumps(asdict(self)))
        part.rename(_path(home))

    @classmethod
    def read(cls, home: Path = HOME) -> "Progress | None":
        try:
            return cls(**json.loads(_path(home).read_text()))
        except (OSError, ValueError, TypeError):
            return None


def ask_for_restart(wish: str, home: Path = HOME) -> None:
    """Leave the wish where `up` finds it on its signal."""
    (home / "restart.wish").write_text(wish)


def read_wish(home: Path = HOME) -> str:
    """What was asked for; empty when the signal came from somebody else."""
    try:
        return (home / "restart.wish").read_text()
    except OSError:
        return ""


@reported
def restart(
    within_s: Annotated[float, typer.Option("--within", min=1, metavar="SECONDS", help="Give up watching.")] = 600,
    as_json: JsonOption = False,
) -> None:
    """Replace every process of the fleet that `sfvopi up` runs here, one after another. No call is lost.

    A new process is there before the old one is told to leave; the old one finishes its calls, which this does not
    wait for. New processes read .env and your bot's code anew. Ends with status 1 if a new process does not come up:
    the old one of its name then stays.

    \b
    Examples:
      sfvopi restart               after a change of bot.py or .env
      sfvopi restart --json        {"replaced": [...], "leaving": 1, "is_done": true, "fault": ""}
    """
    running = RunFile.read()
    if running is None:
        raise CliFault("no fleet is up in this folder: go to where `sfvopi up` runs", BAD_USAGE)
    wish = f"{os.getpid()}-{time.time_ns()}"
    ask_for_restart(wish)
    os.kill(running.pid, signal.SIGHUP)
    done = _watch(wish, within_s, is_quiet=as_json)
    if as_json:
        told = asdict(done)
        del told["wish"]
        show_json(told)
    if done.fault:
        raise CliFault(f"the restart stopped: {done.fault}")
    if not as_json:
        rest = f"; {done.leaving} older ones finish their calls" if done.leaving else ""
        show(f"{len(done.replaced)} processes replaced{rest}")


def _watch(wish: str, within_s: float, *, is_quiet: bool) -> Progress:
    told: list[str] = []
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        progress = Progress.read()
        if progress and progress.wish == wish:
            for name in progress.replaced[len(told) :]:
                told.append(name)
                if not is_quiet:
                    say(f"  {name:<14}replaced", style="dim")
            if progress.is_done or progress.fault:
                return progress
        if RunFile.read() is None:
            raise CliFault("the fleet has gone down")
        time.sleep(LOOK_EVERY_S)
    raise CliFault(f"the restart was not done within {within_s:g} s; it goes on, see the output of `sfvopi up`")


def _path(home: Path) -> Path:
    return home / "restart.json"
