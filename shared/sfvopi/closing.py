"""How a stream is closed or refused: the codes, and what each says.

The carrier's own close codes are undocumented: any of them means "stream over". Ours follow RFC 6455. A stream
that is refused before it is accepted gets an HTTP status instead (`Refusal`).
"""

from enum import IntEnum


class CloseCode(IntEnum):
    """Close codes that we send."""

    NORMAL = 1000  # the call is over
    GOING_AWAY = 1001  # this process is; the carrier may come back
    POLICY = 1008  # no `start` in time, replaced by a newer stream, silent for too long
    TOO_LARGE = 1009
    INTERNAL = 1011
    RESTART = 1012  # this session is handed over: a leg brings the stream to another worker


class Refusal(IntEnum):
    """HTTP status of an upgrade that is refused."""

    BAD_TOKEN = 401  # malformed, forged or expired
    FORBIDDEN = 403  # the call is over, came too late, or has a living stream already
    UNKNOWN = 404  # no such call
    UNAVAILABLE = 503  # full, draining, or the registry is away; sent with Retry-After
