"""Every error of the protocol core, in one tree.

SFVoPIError
├── LocalError            we did something the protocol does not allow
│   └── UnsupportedFormat     codec and sample rate that SFVoPI does not have
└── RemoteError           the peer did; never a reason to end a call
    ├── MessageDropped        one WebSocket message that cannot be used; `reason` says why
    └── WebhookRejected       a webhook that cannot be used; answered with `status`
"""

from enum import StrEnum


class SFVoPIError(Exception):
    """Base of all errors of this package."""


class LocalError(SFVoPIError):
    """Our own fault."""


class RemoteError(SFVoPIError):
    """The peer's fault."""


class UnsupportedFormat(LocalError, ValueError):
    """SFVoPI has no such combination of codec and sample rate."""


class DropReason(StrEnum):
    """Why a WebSocket message was dropped. A closed set: it is a metric label."""

    NOT_TEXT = "not_text"  # binary frame, or text that is not UTF-8
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"  # JSON, but a list, a string, null …
    NO_EVENT = "no_event"  # an object without a usable "event"
    UNKNOWN_EVENT = "unknown_event"
    BAD_FIELD = "bad_field"  # a field that is missing or of the wrong type
    BAD_PAYLOAD = "bad_payload"  # not base64, empty, or not whole samples
    WRONG_FORMAT = "wrong_format"  # codec or rate other than the answer promised
    OUT_OF_ORDER = "out_of_order"  # media before `start`, and the like
    FLOOD = "flood"  # more messages than any call can have


class MessageDropped(RemoteError):
    """One WebSocket message cannot be used: drop it, count it by `reason`, go on."""

    def __init__(self, reason: DropReason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason


class WebhookRejected(RemoteError):
    """A webhook cannot be used: answer with `status` (an HTTP status, 4xx) and the message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
