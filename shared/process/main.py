"""What every `python -m …` of ours does around its work: arguments, settings, logs, signals, loop, exit status."""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import uvloop

from shared.process.signals import Signals
from shared.settings import FleetSettings, SettingsError
from shared.telemetry.logs import get_logger, set_up_logs
from shared.version import VERSION

BAD_SETTINGS = 2  # exit status

T = TypeVar("T", bound=FleetSettings)


@dataclass(frozen=True)
class Program(Generic[T]):
    """One kind of process. `work` runs until its signals say so; it may raise `SettingsError`."""

    module: str  # as in `python -m module`
    description: str
    examples: str
    settings: type[T]
    work: Callable[[T, Signals], Coroutine[Any, Any, None]]
    given_id: Callable[[T], str] = lambda _: ""
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop

    @property
    def name(self) -> str:
        """In logs, metrics and `--version`."""
        return self.module.rpartition(".")[2]


def run_process(program: Program[T], arguments: Sequence[str] | None = None) -> int:
    """The process, from its arguments to its exit status: 0 when it was told to end, 2 for unusable settings."""
    _parser(program).parse_args(arguments)
    try:
        settings = program.settings.read()
        set_up_logs(program.name, process_id(program.given_id(settings)), settings.log_level, texts=settings.log_texts)
        for weakness in settings.weaknesses:
            get_logger(__name__).warning(weakness.what, setting=weakness.setting, remedy=weakness.remedy)
        with asyncio.Runner(loop_factory=program.new_event_loop) as runner:
            _run(runner.get_loop(), _until_told(program, settings))
    except SettingsError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return BAD_SETTINGS
    return 0


def process_id(given: str = "") -> str:
    """The name of this process in the fleet and in logs: the one that its settings give, or host and pid."""
    return given or f"{socket.gethostname()}-{os.getpid()}"


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
    """Run the loop until the work is done, whatever gets out of it before: the process ends when its own work has.

    asyncio lets SystemExit and KeyboardInterrupt of any task or callback end the loop, and anyone may call `loop.stop`.
    """
    working = loop.create_task(work)
    while not working.done():
        try:
            loop.run_until_complete(working)
        except BaseException as error:
            if working.done() or loop.is_closed():
                raise
            remedy = "the process goes on: it ends when it is told to (SIGTERM)"
            get_logger(__name__).error("something asked the process to end", exc_info=error, remedy=remedy)


async def _until_told(program: Program[T], settings: T) -> None:
    with Signals() as signals:
        await program.work(settings, signals)


def _parser(program: Program[T]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        f"python -m {program.module}",
        description=program.description,
        epilog=f"{program.examples}\nSettings come from the environment and .env; `sfvopi settings` lists them all.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sfvopi-fleet {program.name} {VERSION}")
    return parser
