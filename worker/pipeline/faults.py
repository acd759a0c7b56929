"""What went wrong at a rehearsal: the bot itself, or a provider that is away and may be back. Pure.

By types of exceptions, status codes and Pipecat's categories, never by the text of an error. What is not known for a
provider's is the bot's: a deploy that is stopped costs less than one that answers no call.
"""

import errno
from collections.abc import Iterator
from http import HTTPStatus

from pipecat.frames.frames import ErrorFrame
from pipecat.utils.errors import (
    ErrorCategory,
    classify_http_exception,
    classify_http_status_code,
    extract_http_status_code,
)

from shared.settings import SettingsError

AWAY = frozenset({ErrorCategory.CONNECTIVITY, ErrorCategory.SERVER, ErrorCategory.RATE_LIMIT, ErrorCategory.QUOTA})
REQUEST_TIMEOUT = 408

PHRASES = {status.value: status.phrase for status in HTTPStatus}
REMEDIES = {
    ErrorCategory.AUTHENTICATION: ": is its key right?",
    ErrorCategory.AUTHORIZATION: ": may its key use this?",
    ErrorCategory.INVALID_REQUEST: ": are address, model and voice right?",
}

# whatever was being handled when one of these was raised
CODE = (NameError, TypeError, AttributeError, ImportError, SyntaxError, AssertionError, SettingsError, SystemExit)

NETWORK = frozenset(
    {
        *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT),
        *(errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN),
    }
)

# classes by which libraries say that nobody answered: aiohttp, httpx, openai, redis, requests, websockets, grpc …
UNREACHABLE = frozenset(
    {
        *("APIConnectionError", "ClientConnectionError", "ConnectError", "ConnectionClosed", "ConnectionError"),
        *("EndpointConnectionError", "RemoteProtocolError", "ServerDisconnectedError", "Timeout", "TimeoutError"),
        *("TimeoutException", "TransportError"),
    }
)


def is_provider_away(error: BaseException) -> bool:
    """Whether an exception, or the one that it came from, says so. The first that says anything decides."""
    for one in _chain(error):
        if isinstance(one, CODE):
            return False
        category = _category(one)
        if category is not ErrorCategory.UNKNOWN:
            return category in AWAY
    return False


def is_away(frame: ErrorFrame) -> bool:
    """Whether a processor's error says that its provider is away."""
    if frame.category in AWAY:
        return True
    is_unknown = frame.category in (None, ErrorCategory.UNKNOWN)
    return is_unknown and frame.exception is not None and is_provider_away(frame.exception)


def is_final(frame: ErrorFrame) -> bool:
    """Whether its processor can do no work in any call, by the bot's own fault: settings, key, voice, code."""
    if frame.category is ErrorCategory.APPLICATION or is_away(frame):
        return False
    has_given_up = frame.processor is not None and not frame.processor.is_usable
    return bool(frame.fatal) or has_given_up or bool(frame.category and frame.category.is_permanent)


def said_by_status(frame: ErrorFrame) -> str:
    """What a provider refused, by its HTTP status, and what to look at; empty if there is none."""
    status = extract_http_status_code(frame.exception) if frame.exception is not None else None
    if status not in PHRASES:
        return ""
    remedy = REMEDIES.get(classify_http_status_code(status), "")
    return f"the provider answers with {status} {PHRASES[status]}{remedy}"


def _category(error: BaseException) -> ErrorCategory:
    if extract_http_status_code(error) == REQUEST_TIMEOUT:
        return ErrorCategory.CONNECTIVITY
    category = classify_http_exception(error)
    if category is not ErrorCategory.UNKNOWN:
        return category
    is_network = isinstance(error, OSError) and error.errno in NETWORK
    is_unreachable = any(cls.__name__ in UNREACHABLE for cls in type(error).__mro__)
    return ErrorCategory.CONNECTIVITY if is_network or is_unreachable else ErrorCategory.UNKNOWN


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, the members of a group, and what each came from: nearest first, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        waiting.append(one.__cause__ or (None if one.__suppress_context__ else one.__context__))
