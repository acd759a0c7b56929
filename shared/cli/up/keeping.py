"""Keeps a fleet up: processes that end are started again, log lines are told in short, signals drain it."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

from shared.cli.fleet import LocalFleet
from shared.cli.fleet.log_files import Follower, level_of, tell

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
        status = await fleet.children[name].wait()
        if status == BAD_SETTINGS:
            say(f"{name} ended with status 2: it cannot use its settings, see its log")
            return
        if clock() - began_at > STEADY_S:
            pause_s = FIRST_PAUSE_S
        say(f"{name} ended with status {status}; it is started again in {pause_s:g} s")
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        await fleet.start_process(name)


async def tell_logs(fleet: LocalFleet, say: Tell, level: int) -> None:
    """Pass on what the processes log, a short line each, from this level on. Until cancelled."""
    follower = Follower({name: fleet.log_path(name) for name in fleet.names})
    while True:
        for name, fields in follower.new_lines():
            if level_of(fields) >= level:
                say(tell(name, fields))
        await asyncio.sleep(LOOK_EVERY_S)


class Wishes:
    """What the terminal asks for: the first SIGINT or SIGTERM to drain, the second to end now."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.end_now = asyncio.Event()

    def _heard(self) -> None:
        (self.end_now if self.drain.is_set() else self.drain).set()

    @contextlib.contextmanager
    def listening(self) -> Iterator["Wishes"]:
        """Take the two signals for as long as the context lasts."""
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sig, self._heard)
        try:
            yield self
        finally:
            for sig in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(sig)
