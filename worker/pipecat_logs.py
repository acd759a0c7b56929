"""Pipecat's log (loguru) into ours, so that every line of a call is one kind of line and has its call id."""

import logging
import re
from typing import TYPE_CHECKING

import structlog
from loguru import logger

from shared.telemetry.logs import describe_exception

if TYPE_CHECKING:
    from loguru import Message

LOWEST = logging.INFO  # below it, Pipecat writes what callers and bots say
# Pipecat puts what was said into brackets, and arguments and messages into braces, in warnings too; what it says
# of a frame names the key that was pressed. The second brace may be missing: it tells of JSON that is broken. What
# it says of errors ends in their text, which may quote a caller; what failed and where stands before.
_SAID = (
    (re.compile(r"\[.*\]", re.DOTALL), "[…]"),
    (re.compile(r"\{.*", re.DOTALL), "{…}"),
    (re.compile(r"tone: ."), "tone: …"),
    # the text of an exception, which begins at the first colon outside of parentheses
    (
        re.compile(r"(\b(?:exception|error|failed)\b(?:\([^()]*\)|:(?! )|[^:])*+: ).*", re.DOTALL | re.IGNORECASE),
        r"\1…",
    ),
)


def route_pipecat_logs(level: str) -> None:
    """Send Pipecat's lines of this level and above through our renderer. Once per process."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.WARNING)
    logger.remove()
    logger.add(_pass_on, level=max(number, LOWEST), format="{message}", backtrace=False, diagnose=False)


def _pass_on(message: "Message") -> None:
    record = message.record
    log = structlog.stdlib.get_logger("pipecat")
    error = record["exception"]
    number = min(record["level"].no, logging.CRITICAL)
    log.log(
        number // 10 * 10,
        without_speech(record["message"]),
        module=record["name"],
        line=record["line"],
        **(describe_exception(error.value) if error and error.value else {}),
    )


def without_speech(line: str) -> str:
    """The line without what somebody said."""
    for said, mark in _SAID:
        line = said.sub(mark, line)
    return line
