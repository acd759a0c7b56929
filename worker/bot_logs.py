"""Whose line is it? What a bot logs arrives whole, with the call's id; what Pipecat logs, without what somebody said.

A bot may use what it likes: loguru (as all of Pipecat's examples do), `logging`, structlog, `warnings`, `print`. All of
it becomes lines of this process' log, whose numbers are masked. A library's lines are as discreet as they can be made:
loguru's go through `without_speech`, `logging`'s begin with INFO. SFVOPI_LOG_TEXTS=on takes all of that away.
"""

import contextlib
import io
import logging
import sys
import sysconfig
import threading
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from site import getsitepackages, getusersitepackages
from typing import TYPE_CHECKING, Any, TextIO

import structlog
from loguru import logger

from shared.settings import Numbers, WorkerSettings
from shared.telemetry.logs import EXTRA, describe_exception, get_logger, redact
from worker.pipecat_logs import without_speech

if TYPE_CHECKING:
    from loguru import Message

LOWEST = logging.INFO  # below it, Pipecat and other libraries write what callers and bots say
LONGEST_PRINT = 8000  # characters without a new line, and then it is a line all the same
OURS = ("gateway", "shared", "worker")
_FIELDS_OF_RECORDS = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", EXTRA})


class Owner(StrEnum):
    """Whose code wrote a line."""

    BOT = "bot"
    LIBRARY = "library"
    FLEET = "fleet"


class Owners:
    """Tells by its file whose code is whose. `bots` are `module:function`: they may be installed as libraries are."""

    def __init__(self, bots: Iterable[str] = ()) -> None:
        tops = {bot.partition(":")[0].partition(".")[0] for bot in bots}
        root = Path(__file__).resolve().parents[1]
        self._bots = tops - {*OURS, "pipecat"}
        self._ours = tuple(f"{root / name}/" for name in OURS)
        paths = sysconfig.get_paths()
        libraries = {paths["purelib"], paths["platlib"], getusersitepackages(), *getsitepackages()}
        self._libraries = tuple(f"{path}/" for path in libraries)
        self._python = tuple({f"{paths['stdlib']}/", f"{paths['platstdlib']}/", "<frozen"})
        self.of = lru_cache(maxsize=4096)(self._of)

    def _of(self, path: str) -> Owner:
        if path.startswith(self._ours):
            return Owner.FLEET
        library = next((path.removeprefix(folder) for folder in self._libraries if path.startswith(folder)), "")
        if library:
            return Owner.BOT if library.partition("/")[0].removesuffix(".py") in self._bots else Owner.LIBRARY
        return Owner.LIBRARY if path.startswith(self._python) else Owner.BOT


@contextlib.contextmanager
def logs_of_bots(settings: WorkerSettings) -> Iterator[None]:
    """Within it, what bots and libraries write goes into our log. Once per process, before a bot is imported."""
    owners = Owners(Numbers.read(settings).bots)
    route_loguru(owners, settings.log_level, settings.pipecat_log_level, texts=settings.log_texts)
    for handler in logging.getLogger().handlers:
        handler.addFilter(LoggingFilter(owners, texts=settings.log_texts))
    logging.captureWarnings(True)
    threading.excepthook = _thread_ended
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = PrintedLines(out, logging.INFO), PrintedLines(err, logging.WARNING)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


def route_loguru(owners: Owners, level: str, pipecat_level: str, *, texts: bool = False) -> None:
    """loguru's lines: a bot's own of `level` and above, and Pipecat's and other libraries' of `pipecat_level`."""
    levels = logging.getLevelNamesMapping()
    of_bots = levels.get(level.upper(), logging.INFO)
    of_others = max(levels.get(pipecat_level.upper(), logging.WARNING), 0 if texts else LOWEST)

    def pass_on(message: "Message") -> None:
        record = message.record
        is_bots = owners.of(record["file"].path) is Owner.BOT
        if record["level"].no < (of_bots if is_bots else of_others):
            return
        text = record["message"] if is_bots or texts else without_speech(record["message"])
        error = record["exception"]
        told = describe_exception(error.value, texts=texts) if error and error.value else {}
        more = {"extra": dict(record["extra"])} if record["extra"] and (is_bots or texts) else {}
        structlog.stdlib.get_logger(record["name"] if is_bots else "pipecat").log(
            min(record["level"].no, logging.CRITICAL) // 10 * 10,
            text,
            **({} if is_bots else {"module": record["name"]}),
            line=record["line"],
            **told,
            **more,
        )

    logger.remove()
    logger.add(pass_on, level=min(of_bots, of_others), format="{message}", backtrace=False, diagnose=False)


class LoggingFilter(logging.Filter):
    """`logging`'s lines: a bot's own with what it gave as `extra`; a library's without its details (DEBUG)."""

    def __init__(self, owners: Owners, *, texts: bool) -> None:
        super().__init__()
        self._owners = owners
        self._texts = texts

    def filter(self, record: logging.LogRecord) -> bool:
        owner = self._owners.of(record.pathname)
        if owner is Owner.BOT and (extra := _extra_of(vars(record))):
            setattr(record, EXTRA, extra)
        return owner is not Owner.LIBRARY or record.levelno >= LOWEST or self._texts


def _extra_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in _FIELDS_OF_RECORDS and name[0] != "_"}


class PrintedLines(io.TextIOBase):
    """Stands in for a stream of this process: what is printed becomes lines of the log, with the call's id."""

    encoding = "utf-8"

    def __init__(self, stream: TextIO, level: int) -> None:
        self._stream = stream
        self._level = level
        self._log = get_logger("print")
        self._own = threading.local()  # each thread's unfinished line, and whether it is just telling one

    def write(self, text: str) -> int:
        if getattr(self._own, "is_telling", False):  # the log itself complains, or is somebody else's by now
            self._stream.write(redact(text))
            return len(text)
        *lines, rest = (getattr(self._own, "rest", "") + text).split("\n")
        if len(rest) > LONGEST_PRINT:
            lines, rest = [*lines, rest], ""
        self._own.rest, self._own.is_telling = rest, True
        try:
            for line in lines:
                if line.strip():
                    self._log.log(self._level, line.rstrip())
        finally:
            self._own.is_telling = False
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """Never: others print, too."""

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        name = ended.thread.name if ended.thread else "?"
        get_logger(__name__).error("a thread ended with an exception", thread=name, exc_info=ended.exc_value)
