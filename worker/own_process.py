"""The process is the worker's, and many calls share it: what a bot does to it works for the bot alone, or is refused.

Theory of operation. Some of what Python programs do to their process must not hold for a moment: a signal that another
one takes is lost, a log that shows everything has shown it. Those functions ask whose code calls them
(`refusals.py`). What is changed by assignment cannot ask: it is looked at ten times a second, and around a bot's import
and rehearsal, and put back (`belongings.py`). Either way the log says once which bot did what, and what to do instead.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Collection
from typing import Self

from shared.process.signals import OWN_SIGNALS
from shared.telemetry.logs import get_logger
from worker.belongings import Thing, belongings, logs
from worker.refusals import Refusals
from worker.tasks import code_of, whose

LOOK_S = 0.1


class OwnProcess:
    """A context manager: within it, this process stays as it was when this was made."""

    def __init__(self) -> None:
        self.bots: Callable[[], Collection[str]] = lambda: ()  # those whose code runs now
        self._told: set[tuple[str, str]] = set()
        self._log = get_logger(__name__)
        self._logs, self._things = logs(), belongings()
        self._refusals = Refusals(self.tell)

    def tell(self, what: str, instead: str, *, warns: bool = True) -> None:
        """A bot did this, and it does not hold. Said once of each bot, where it is read."""
        self._look_at(self._logs)
        bot = whose().get("bot") or ", ".join(sorted(self.bots()))
        if (bot, what) not in self._told:
            self._told.add((bot, what))
            say = self._log.warning if warns else self._log.info
            say("a bot changed what the worker owns: it does not hold", bot=bot, what=what, instead=instead)

    def keep(self) -> None:
        """The process is to stay as it is now: the worker itself has changed something."""
        self._logs, self._things = logs(), belongings()

    def look(self) -> None:
        """Put back what has changed: some 20 µs."""
        self._look_at([*self._logs, *self._things])

    def _look_at(self, things: list[Thing]) -> None:
        for thing in things:
            if thing.is_changed():
                self.tell(thing.what, thing.instead, warns=thing.warns)

    def look_after(self, bot: str) -> None:
        """Look now: this bot's code has just run."""
        with code_of(bot):
            self.look()

    async def keep_looking(self) -> None:
        """A side task."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def __enter__(self) -> Self:
        self._refusals.begin(asyncio.get_running_loop())
        os.register_at_fork(after_in_child=self._let_go)
        return self

    def __exit__(self, *_: object) -> None:
        self.look()
        self._refusals.end()

    def _let_go(self) -> None:
        """In a fork (`multiprocessing`): it is the bot's; and a signal to it would come to our event loop's socket."""
        self._refusals.give_back()
        with contextlib.suppress(ValueError):  # forked by a thread, in which Python takes no signals
            signal.set_wakeup_fd(-1)
            for number in OWN_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
