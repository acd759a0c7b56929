"""One JSON line per event, on standard error, with no number, token or secret in it.

Redaction is the last step before rendering and looks at every string, so that a careless caller or a library
cannot leak one. Of an exception a line tells what it is and where it was raised, but not its message: that may quote
what a caller said, and no pattern finds words. Where texts are wanted (SFVOPI_LOG_TEXTS) it has the message as well.
"""

import logging
import re
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from typing import Any

import structlog

MOST_FRAMES = 30  # of an exception, the innermost
EXTRA = "sfvopi_extra"  # of a `logging.LogRecord`: a dict of fields that the line is to have

_FAULTS_OF_PEERS = ("Invalid HTTP request", "Invalid UTF-8 sequence", "Unsupported upgrade request")

_NUMBER = re.compile(r"(?<![\w.-])(\+|%2B|00)(\d{3,11})(\d{2})(?![\w-])")
_STREAM_PATH = re.compile(r"(/ws/)[A-Za-z0-9_\-.~%]+")
_STREAM_TOKEN = re.compile(r"[A-Za-z0-9_-]{40,}\.[A-Za-z0-9_-]{22}(?![A-Za-z0-9_-])")  # under any other path
_WEBHOOK_PATH = re.compile(r"(/webhook/)(?!(?:answer|fallback|hangup|ring)\b)[^/\s\"']+")
_CREDENTIALS = re.compile(r"(\w+://)[^/@\s\"']*@")
_BEARER = re.compile(r"(?i)(bearer |token |api[_-]?key[=: ]+)[A-Za-z0-9_\-.]{8,}")
_MAY_BE_SECRET = re.compile(
    r"[+/]|%2B|00|\.[A-Za-z0-9_-]{22}|(?i:bearer |token |api[_-]?key)"
)  # else none of these is in it


def redact(text: str) -> str:
    """The text without phone numbers (last two digits stay), stream tokens, webhook secrets and credentials."""
    if _MAY_BE_SECRET.search(text) is None:
        return text
    text = _NUMBER.sub(lambda m: f"{m[1]}{'*' * len(m[2])}{m[3]}", text)
    text = _STREAM_PATH.sub(r"\1<token>", text)
    text = _STREAM_TOKEN.sub("<token>", text)
    text = _WEBHOOK_PATH.sub(r"\1<secret>", text)
    text = _CREDENTIALS.sub(r"\1<credentials>@", text)
    return _BEARER.sub(r"\1<secret>", text)


def _redact_all(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        event[key] = _redacted(value)
    return event


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return value if isinstance(value, int | float | bool | None) else redact(str(value))


def describe_exception(error: BaseException, *, texts: bool = False) -> dict[str, Any]:
    """An exception as fields of a line: its type, those that led to it, and its frames, the innermost last."""
    frames = [
        f"{frame.f_code.co_filename}:{line} {frame.f_code.co_qualname}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    chain = list(_chain(error))
    told = {"exception": " from ".join(map(_type, chain)), "frames": frames[-MOST_FRAMES:]}
    return {**told, "error": " from ".join(map(_message, chain))} if texts else told


def _chain(error: BaseException) -> Iterator[BaseException]:
    """It, and those that led to it."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def _type(error: BaseException) -> str:
    name = type(error).__qualname__
    return f"{name}({', '.join(map(_type, error.exceptions))})" if isinstance(error, BaseExceptionGroup) else name


def _message(error: BaseException) -> str:
    try:
        said = str(error)
    except Exception:  # `__str__` of somebody else's class
        said = "its message cannot be had"
    inner = [_message(one) for one in error.exceptions] if isinstance(error, BaseExceptionGroup) else []
    return f"{type(error).__qualname__}: {said}" + (f" [{'; '.join(inner)}]" if inner else "")


class _DescribeExceptions:
    def __init__(self, *, texts: bool) -> None:
        self._texts = texts

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        given = event.pop("exc_info", None)
        if given is True:
            given = sys.exc_info()
        error = given[1] if isinstance(given, tuple) else given
        if isinstance(error, BaseException):
            if event.get("logger") == "asyncio":  # its further lines are the task's repr, and in it the exception's
                event["event"] = str(event["event"]).partition("\n")[0]
            event.update(describe_exception(error, texts=self._texts))
        return event


def _add_extra(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What `logging`'s `extra=` gave to a record, where somebody (a worker, of its bots' lines) wants to have it."""
    extra = getattr(event.get("_record"), EXTRA, None)
    if extra:
        event["extra"] = extra
    return event


def _is_no_peers_fault(record: logging.LogRecord) -> bool:
    """uvicorn has a line for each broken request and each broken text: whoever wants to could fill a disk."""
    return not str(record.msg).startswith(_FAULTS_OF_PEERS)


def set_up_logs(component: str, process_id: str, level: str = "INFO", *, texts: bool = False) -> None:
    """Send our own and every library's log lines through one renderer. Call once, at start."""
    shared_steps: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared_steps, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared_steps, _add_extra],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _DescribeExceptions(texts=texts),
                lambda _, __, event: {**event, "component": component, "process": process_id},
                _redact_all,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn.error").addFilter(_is_no_peers_fault)
    # accept lines name the path, and with it the token; access lines are nginx's business
    for name in ("uvicorn.error", "uvicorn.access", "websockets", "httpx2", "httpcore2", "faster_whisper"):
        logging.getLogger(name).setLevel(logging.WARNING)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose keyword arguments become fields of the line."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
