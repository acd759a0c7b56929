"""Functions that change the process, and ask whose code calls them: a bot's call does nothing, or less.

Each is put in the place of Python's or a library's own, and calls that for everybody but bots. A bot's code is what
runs in the context of a session, a rehearsal or a bot's import; threads that a bot starts by itself are not known.
"""

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from loguru import logger

from shared.process.signals import OWN_SIGNALS
from worker.tasks import own_tasks, whose

OWN = frozenset(OWN_SIGNALS)
MUTED = 100  # a level above all that loguru has


class Tell(Protocol):
    """Say once that a bot did this, and what it does instead."""

    def __call__(self, what: str, instead: str, *, warns: bool = True) -> None: ...


class Refusals:
    """From `begin` to `end`. May be called from any thread."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._undo: list[Callable[[], None]] = []
        self._variables = dict.fromkeys(os.environ, "")  # whose each is; the worker's own: nobody's
        self._sinks: dict[int, str] = {}  # of loguru, and the bots that added them
        self._muted = -1

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._replace(signal, "signal", self._signal)
        wakeup = functools.partial(self._nothing, "signal.set_wakeup_fd", "leave it out: the event loop hears by it")
        self._replace(signal, "set_wakeup_fd", wakeup)
        self._replace(signal, "pthread_sigmask", self._signal_mask)
        self._replace(loop, "add_signal_handler", self._add_signal_handler)
        self._replace(loop, "remove_signal_handler", self._remove_signal_handler)
        for name, instead in _LOOP.items():
            self._replace(loop, name, functools.partial(self._nothing, f"loop.{name}", instead))
        for name in ("shutdown_default_executor", "shutdown_asyncgens"):
            self._replace(loop, name, functools.partial(self._nothing_to_wait_for, f"loop.{name}"))
        policy = functools.partial(
            self._nothing, "asyncio.set_event_loop_policy", "leave it out: the loop runs already"
        )
        self._replace(asyncio, "set_event_loop_policy", policy)
        self._replace(asyncio, "all_tasks", self._all_tasks)
        self._replace(asyncio.tasks, "all_tasks", self._all_tasks)
        self._replace(os._Environ, "__setitem__", self._set_variable)
        self._replace(os._Environ, "__delitem__", self._delete_variable)
        self._replace(os._Environ, "popitem", self._pop_variable)
        self._muted = logger.add(lambda _: None, level=MUTED)
        self._ours = set(logger._core.handlers)  # type: ignore[attr-defined]
        self._replace(type(logger), "add", self._add_sink)
        self._replace(type(logger), "remove", self._remove_sink)

    def end(self) -> None:
        self.give_back()
        logger.remove(self._muted)

    def give_back(self) -> None:
        """Every function is its own again."""
        while self._undo:
            self._undo.pop()()

    def _replace(self, owner: Any, name: str, ours: Callable[..., Any]) -> None:
        original = getattr(owner, name)
        is_own = name in vars(owner)

        @functools.wraps(original)
        def asked(*args: Any, **options: Any) -> Any:
            return ours(original, *args, **options) if whose() else original(*args, **options)

        setattr(owner, name, asked)
        self._undo.append(lambda: setattr(owner, name, original) if is_own else delattr(owner, name))

    def _nothing(self, what: str, instead: str, original: Callable[..., Any], *_: Any, **__: Any) -> None:
        self._tell(what, instead)

    async def _nothing_to_wait_for(self, what: str, original: Callable[..., Any], *_: Any, **__: Any) -> None:
        self._tell(what, "leave it out: other calls use it")

    # -- signals: our drain begins with one

    def _signal(self, original: Callable[..., Any], number: int, handler: Any) -> Any:
        if number not in OWN_SIGNALS:
            return original(number, handler)
        self._tell(f"signal.signal({_name(number)})", _SIGNALS)
        return signal.getsignal(number)

    def _signal_mask(self, original: Callable[..., Any], how: int, mask: Iterable[int]) -> Any:
        wanted = set(mask)
        if how != signal.SIG_UNBLOCK and wanted & OWN:
            self._tell("signal.pthread_sigmask", _SIGNALS, warns=False)  # `multiprocessing` does so for a moment
            wanted -= OWN
        return original(how, wanted)

    def _add_signal_handler(self, original: Callable[..., Any], number: int, *handler: Any) -> None:
        if number in OWN_SIGNALS:  # WorkerRunner() does so for SIGINT: its bot has nothing to change
            self._tell(f"loop.add_signal_handler({_name(number)})", _SIGNALS, warns=False)
        else:
            original(number, *handler)

    def _remove_signal_handler(self, original: Callable[..., Any], number: int) -> Any:
        return True if number in OWN_SIGNALS else original(number)

    # -- tasks: "cancel all" is how many a program ends

    def _all_tasks(self, original: Callable[..., Any], loop: asyncio.AbstractEventLoop | None = None) -> Any:
        return own_tasks(original(loop))

    # -- the environment: of all bots, and read at every moment

    def _set_variable(self, original: Callable[..., Any], environ: Any, name: str, value: str) -> None:
        if self._may_change(name) or environ.get(name) == value:
            self._variables.setdefault(os.fsdecode(name), whose()["bot"])
            original(environ, name, value)
        else:
            self._tell(f"os.environ[{name!r}] = …", _VARIABLES)

    def _delete_variable(self, original: Callable[..., Any], environ: Any, name: str) -> None:
        if self._may_change(name):
            original(environ, name)
            self._variables.pop(os.fsdecode(name), None)
        else:
            self._tell(f"del os.environ[{name!r}]", _VARIABLES)

    def _pop_variable(self, _: Callable[..., Any], environ: Any) -> tuple[str, str]:
        """`clear` asks for one after another, until there is none."""
        name = next((name for name in environ if self._may_change(name)), None)
        if name is None:
            self._tell("os.environ.clear()", _VARIABLES)
            raise KeyError("all that is left is the worker's, or another bot's")
        value = environ[name]
        del environ[name]
        return name, value

    def _may_change(self, name: str) -> bool:
        return self._variables.get(os.fsdecode(name), whose()["bot"]) == whose()["bot"]

    # -- loguru, which has one set of sinks for all

    def _add_sink(self, original: Callable[..., Any], log: Any, sink: Any, **options: Any) -> int:
        if any(sink is shown for shown in (sys.stderr, sys.stdout, sys.__stderr__, sys.__stdout__, print)):
            self._tell("logger.add(sys.stderr)", _SINKS)
            return self._muted
        number: int = original(log, sink, **options)
        self._sinks[number] = whose()["bot"]
        return number

    def _remove_sink(self, original: Callable[..., Any], log: Any, number: int | None = None) -> None:
        theirs = [sink for sink, bot in self._sinks.items() if bot == whose()["bot"]]
        for sink in theirs if number is None else {number} - self._ours:
            if self._sinks.pop(sink, None) is not None:  # else it is gone, as loguru's own first one (0)
                original(log, sink)


def _name(number: int) -> str:
    return signal.Signals(number).name


_SIGNALS = "leave it out: the worker drains on SIGTERM, and tells each call its end (on_client_disconnected)"
_VARIABLES = "the worker was started with it, or another bot has set it: give it to the worker, and leave override out"
_SINKS = "leave it out: your lines are in the worker's log (SFVOPI_LOG_LEVEL=DEBUG for more); a file of your own works"
_LOOP = {
    "stop": "end the call with EndWorkerFrame or pipeline.cancel()",
    "set_exception_handler": "catch what your own tasks raise",
    "set_task_factory": "leave it out: the worker's own knows whose each task is",
    "set_debug": "set PYTHONASYNCIODEBUG for the worker",
    "set_default_executor": "name your executor: loop.run_in_executor(yours, …)",
}
