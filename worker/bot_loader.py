"""`module:function` → the bot. What cannot be loaded says what was looked for, and where."""

import importlib
import inspect
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from worker.bot_faults import explain
from worker.pipeline.create_transport import install
from worker.tasks import code_of

Bot = Callable[[Any], Awaitable[None]]


class BotNotFound(Exception):
    """No such bot; the message says what to do."""


class BotLoader:
    """Bots by name, each imported once, and not again when it failed: that would cost every call the same.

    Files in the working directory can be named, as with `python bot.py`. May be called from any thread.
    """

    def __init__(self) -> None:
        self._bots: dict[str, Bot] = {}
        self._faults: dict[str, str] = {}
        self._one_at_a_time = threading.Lock()

    def load(self, name: str) -> Bot:
        """The bot of this name. Raises `BotNotFound`."""
        with self._one_at_a_time:
            if name in self._faults:
                raise BotNotFound(self._faults[name])
            if name not in self._bots:
                try:
                    self._bots[name] = _import(name)
                except BotNotFound as fault:
                    self._faults[name] = str(fault)
                    raise
            return self._bots[name]


def _import(name: str) -> Bot:
    module_name, colon, function = name.partition(":")
    if not (module_name and colon and function):
        raise BotNotFound(f"a bot is named module:function, not {name!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    install()  # before `from pipecat.runner.utils import create_transport` is run
    try:
        with code_of(name):
            module = importlib.import_module(module_name)
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # whatever a module does while it is imported
        if isinstance(error, ModuleNotFoundError) and error.name and module_name.startswith(error.name):
            raise BotNotFound(
                f"no module {module_name!r} for the bot {name!r}: start the worker in its folder, or set PYTHONPATH"
            ) from None
        raise BotNotFound(f"the bot {name!r} cannot be imported: {explain(error)}") from error
    bot = getattr(module, function, None)
    if bot is None:
        raise BotNotFound(f"{module_name} has no {function!r}; write `async def {function}(runner_args)` there")
    if not inspect.iscoroutinefunction(bot):
        raise BotNotFound(f"{name} is not `async def`, so it is no bot")
    return bot  # type: ignore[no-any-return]
