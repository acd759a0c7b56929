"""Errors that a command ends with: one clear line that says what to do, and an exit status."""

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any

import typer

from shared.cli.terminal import say
from shared.settings.fleet import SettingsError

FAILED = 1
BAD_USAGE = 2


class CliFault(Exception):
    """The command cannot go on. `status` is the exit status: 1 for a failure, 2 for bad usage or settings."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def reported(command: Callable[..., Any]) -> Callable[..., None]:
    """A command, plain or async, whose faults become a line on standard error and an exit status."""

    @functools.wraps(command)
    def run(*args: Any, **given: Any) -> None:
        try:
            result = command(*args, **given)
            if inspect.iscoroutine(result):
                asyncio.run(result)
        except CliFault as fault:
            _end(str(fault), fault.status)
        except SettingsError as fault:
            _end(str(fault), BAD_USAGE)

    return run


def _end(message: str, status: int) -> None:
    with contextlib.suppress(OSError):  # a terminal that is gone changes no exit status
        for line in message.splitlines():
            say(f"error: {line}", style="red")
    raise typer.Exit(status)
