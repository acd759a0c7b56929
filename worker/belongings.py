"""What of the process is the worker's own and is changed by assignment, with how it is put back."""

import asyncio
import gc
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing. `is_changed` puts it back, if it was changed."""

    what: str
    is_changed: Callable[[], bool]
    instead: str
    warns: bool = True  # else it works for the bot all the same


OURS = ("worker", "shared")  # loggers, which have no level of their own


def logs() -> list[Thing]:
    """The ways of a line to our log, as they are now."""
    return [
        Thing("logging: handlers", _root_handlers(), _LOGGING),
        Thing("logging: levels", _log_levels(), _LOGGING),
        Thing("structlog.configure", _structlog(), _LOGGING),
    ]


def belongings() -> list[Thing]:
    """All else, as it is now."""
    return [
        Thing("sys.path", _path(), "to go first in sys.path is refused: what was added is searched last", warns=False),
        Thing("working folder", _folder(), "name files by where your module lies: Path(__file__).parent"),
        Thing("warnings as errors", _warnings(), "turn warnings into errors in your tests"),
        Thing("sys.stdout", _attribute(sys, "stdout"), "write to a stream of your own"),
        Thing("sys.stderr", _attribute(sys, "stderr"), "write to a stream of your own"),
        Thing("sys.excepthook", _attribute(sys, "excepthook"), "catch what your own code raises"),
        Thing("threading.excepthook", _attribute(threading, "excepthook"), "catch what your own threads raise"),
        Thing("os.environ", _attribute(os, "environ"), "set its items"),
        Thing("sys.setrecursionlimit", _value(sys.getrecursionlimit, sys.setrecursionlimit), "use a loop"),
        Thing("sys.setswitchinterval", _value(sys.getswitchinterval, sys.setswitchinterval), _COLLECTS),
        Thing("gc.disable", _value(gc.isenabled, _collect), _COLLECTS),
        Thing("gc.set_threshold", _value(gc.get_threshold, lambda kept: gc.set_threshold(*kept)), _COLLECTS),
        *_event_loop(),
    ]


_LOGGING = (
    "leave it out: your lines are in the worker's log (SFVOPI_LOG_LEVEL=DEBUG for more); a file of your own works"
)
_COLLECTS = "leave it out: the worker chooses when to collect garbage, and what waits for it"


def _event_loop() -> list[Thing]:
    """What nobody but a thread can change: in a call these are refused before."""
    loop = asyncio.get_running_loop()
    handler = _value(loop.get_exception_handler, loop.set_exception_handler)
    factory = _value(loop.get_task_factory, loop.set_task_factory)
    return [
        Thing("loop.set_exception_handler", handler, "catch what your own tasks raise"),
        Thing("loop.set_task_factory", factory, "leave it out: the worker's own knows whose each task is"),
    ]


def _value(read: Callable[[], Any], put_back: Callable[[Any], Any]) -> Callable[[], bool]:
    kept = read()

    def is_changed() -> bool:
        if read() == kept:
            return False
        put_back(kept)
        return True

    return is_changed


def _attribute(owner: Any, name: str) -> Callable[[], bool]:
    return _value(lambda: getattr(owner, name), lambda kept: setattr(owner, name, kept))


def _collect(is_on: bool) -> None:
    (gc.enable if is_on else gc.disable)()


def _path() -> Callable[[], bool]:
    """What a bot adds goes behind what was there; what it takes away comes back."""
    path, kept = sys.path, list(sys.path)

    def is_changed() -> bool:
        nonlocal kept
        if sys.path is path and path == kept:
            return False
        wanted = [*kept, *dict.fromkeys(place for place in sys.path if place not in kept)]
        in_order = list(sys.path) == wanted
        sys.path = path
        path[:] = kept = wanted
        return not in_order

    return is_changed


def _folder() -> Callable[[], bool]:
    def read() -> str:
        try:
            return os.getcwd()
        except FileNotFoundError:  # somebody has deleted it
            return ""

    kept = read()

    def is_changed() -> bool:
        if read() == kept or not os.path.isdir(kept):
            return False
        os.chdir(kept)
        return True

    return is_changed


def _root_handlers() -> Callable[[], bool]:
    """Ours stay, and nobody else writes to standard output or error: lines there are JSON, without numbers."""
    root, kept = logging.getLogger(), list(logging.getLogger().handlers)

    def is_changed() -> bool:
        if root.handlers == kept:
            return any(_opened(handler) for handler in kept)
        others = [handler for handler in root.handlers if handler not in kept]
        wanted = [*kept, *(handler for handler in others if not _shows(handler))]
        if root.handlers == wanted:
            return False
        root.handlers[:] = wanted
        return True

    return is_changed


def _opened(handler: logging.Handler) -> bool:
    """Somebody has closed the stream of our log (`sys.stderr.close()`), which leaves its descriptor open."""
    stream = getattr(handler, "stream", None)
    if not isinstance(handler, logging.StreamHandler) or not getattr(stream, "closed", False):
        return False
    handler.stream = open(2, "w", buffering=1, closefd=False, encoding="utf-8")  # noqa: SIM115
    return True


def _shows(handler: logging.Handler) -> bool:
    """Whether it writes to where people look. A handler of a bot's (a file, a service) does not."""
    stream = getattr(handler, "stream", None)  # of a StreamHandler, and of what is made like one
    return stream is not None and stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)


def _log_levels() -> Callable[[], bool]:
    """The root's level, `logging.disable`, and what silences every logger: `dictConfig`, or a loop over all of them."""
    root, level = logging.getLogger(), logging.getLogger().level
    canary = logging.getLogger(__name__)

    def is_changed() -> bool:
        is_open = canary.level == logging.NOTSET and canary.propagate and not canary.disabled
        if is_open and root.level == level and not root.disabled and not root.manager.disable:
            return False
        root.setLevel(level)
        logging.disable(logging.NOTSET)
        for logger in (root, *root.manager.loggerDict.values()):
            if isinstance(logger, logging.Logger):
                logger.disabled = False
                if logger.name.partition(".")[0] in OURS:
                    logger.propagate = True
                    logger.setLevel(logging.NOTSET)
        return True

    return is_changed


def _structlog() -> Callable[[], bool]:
    kept = structlog.get_config()
    return _value(structlog.get_config, lambda _: structlog.configure(**kept))


def _warnings() -> Callable[[], bool]:
    """Filters that raise, in code that is not the bot's; others are let be."""
    kept = [one for one in warnings.filters if one[0] == "error"]

    def is_changed() -> bool:
        extra = [one for one in warnings.filters if one[0] == "error" and one not in kept]
        if not extra:
            return False
        warnings.filters[:] = [one for one in warnings.filters if one not in extra]  # type: ignore[index]
        warnings._filters_mutated()  # type: ignore[attr-defined]
        return True

    return is_changed
