"""Keeps a fleet up: processes that end are started again, log lines are told in short, signals drain it."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator

from shared.cli.faults import CliFault
from shared.cli.fleet import LocalFleet
from shared.cli.fleet.log_files import Follower, level_of, tell
from shared.cli.restart import Progress, read_wish

LOOK_EVERY_S = 0.3
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
STEADY_S = 60.0  # a process that ran for so long starts its pauses anew
BAD_SETTINGS = 2  # the exit status of a process that will not run with its settings

Tell = Callable[[str], None]


async def keep_up(fleet: LocalFleet, name: str, say: Tell) -> None:
    """Start one process again, with growing pauses, whenever it ends. Returns only for settings it cannot use."""
    pause_s = FIRST_PAUSE_S
    clock = asyncio.get_running_loop().time
    while True:
        began_at = clock()
        child = fleet.children[name]
        status = await child.wait()
        if child in fleet.leaving or fleet.children[name] is not child:
            await asyncio.sleep(LOOK_EVERY_S)
            continue  # it left on purpose: a newer generation is there, or is coming
        if status == BAD_SETTINGS:
            say(f"{name} ended with status 2: it cannot use its settings, see its log")
            return
        if clock() - began_at > STEADY_S:
            pause_s = FIRST_PAUSE_S
        say(f"{name} ended with status {status}; it is started again in {pause_s:g} s")
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        try:
            await fleet.start_process(name)
        except OSError as error:  # a full disk, no more processes or files: it is tried again, the others go on
            say(f"{name} cannot be started: {error.strerror or error}")


async def restart_when_asked(fleet: LocalFleet, wishes: "Wishes", say: Tell) -> None:
    """Replace all processes whenever that is asked for. Until cancelled."""
    while True:
        await wishes.restart.wait()
        wishes.restart.clear()
        say("restarting: every process in turn; calls go on")
        progress = Progress(read_wish())
        told, fleet.on_progress = fleet.on_progress, _noting(progress, fleet.on_progress)
        try:
            progress.write()
            await fleet.rolling_restart()
            progress.is_done = True
            say("restarted")
        except (CliFault, OSError) as fault:
            progress.fault = str(fault)
            say(f"the restart stopped: {fault}")
        finally:
            fleet.on_progress = told
            progress.leaving = sum(child.is_running for child in fleet.leaving)
            with contextlib.suppress(OSError):
                progress.write()


def _noting(progress: Progress, tell: Callable[[str, str], None]) -> Callable[[str, str], None]:
    def note(name: str, what: str) -> None:
        tell(name, what)
        if what == "replaced":
            progress.replaced.append(name)
            progress.write()

    return note


async def tell_logs(fleet: LocalFleet, say: Tell, level: int) -> None:
    """Pass on what the processes log, a short line each, from this level on. Until cancelled."""
    follower = Follower({name: fleet.log_path(name) for name in fleet.names})
    while True:
        for name, fields in follower.new_lines():
            if level_of(fields) >= level:
                say(tell(name, fields))
        await asyncio.sleep(LOOK_EVERY_S)


class Wishes:
    """What is asked for: the first SIGINT or SIGTERM to drain, the second to end now; SIGHUP to restart.

    A terminal that goes away sends SIGHUP, too. So in a terminal only a restart that `sfvopi restart` has asked for
    counts as one.
    """

    def __init__(self) -> None:
        self._is_in_terminal = sys.stdin is not None and sys.stdin.isatty()
        self._last_wish = read_wish()
        self.restart = asyncio.Event()
        self.drain = asyncio.Event()
        self.end_now = asyncio.Event()

    def _heard(self) -> None:
        (self.end_now if self.drain.is_set() else self.drain).set()

    def _heard_hangup(self) -> None:
        wish = read_wish()
        if wish != self._last_wish or not self._is_in_terminal:
            self.restart.set()
        self._last_wish = wish

    @contextlib.contextmanager
    def listening(self) -> Iterator["Wishes"]:
        """Take the signals for as long as the context lasts."""
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sig, self._heard)
        loop.add_signal_handler(signal.SIGHUP, self._heard_hangup)
        try:
            yield self
        finally:
            for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(sig)
