"""The carrier's webhooks, from flat fields: a POSTed JSON object or the query of a GET.

Little is required, unknown keys are ignored, sizes are capped, and a `WebhookRejected` names the field and never
its value. A hangup is not sent twice, so it is taken if it has one usable id: what is absurd is left out.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared.sfvopi.errors import WebhookRejected

MAX_NUMBER_CHARS = 32
MAX_WORD_CHARS = 64  # states, directions, causes, times
MAX_DURATION_S = 30 * 86400.0

# Ids become part of Redis keys and URL paths: no braces, slashes, spaces, percent signs.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@=+~-]{0,127}")

Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class AnswerWebhook:
    """A call has been picked up, and asks where its stream shall go. `request_uuid` is for outbound calls only."""

    call_uuid: str
    request_uuid: str = ""
    from_number: str = ""
    to_number: str = ""
    direction: str = ""
    call_status: str = ""
    answered_at: str = ""

    def to_fields(self) -> dict[str, str | int | float]:
        """As the carrier sends it."""
        return _fields(_parties(self), call_status=self.call_status, answered_at=self.answered_at)


@dataclass(frozen=True, slots=True)
class RingWebhook:
    """An outbound call rings at the other end. One of the ids may be missing."""

    call_uuid: str = ""
    request_uuid: str = ""
    from_number: str = ""
    to_number: str = ""
    direction: str = ""
    call_status: str = ""

    def to_fields(self) -> dict[str, str | int | float]:
        """As the carrier sends it."""
        return _fields(_parties(self), call_status=self.call_status)


@dataclass(frozen=True, slots=True)
class HangupWebhook:
    """A call is over, or was never answered (`duration_s` 0, no `answer_at`). One of the ids may be missing."""

    call_uuid: str = ""
    request_uuid: str = ""
    from_number: str = ""
    to_number: str = ""
    direction: str = ""
    call_status: str = ""
    duration_s: float = 0.0
    started_at: str = ""
    answer_at: str = ""
    ended_at: str = ""
    hangup_cause: str = ""

    def to_fields(self) -> dict[str, str | int | float]:
        """As the carrier sends it; whole seconds as an integer."""
        duration = int(self.duration_s) if self.duration_s.is_integer() else self.duration_s
        return _fields(
            _parties(self),
            call_status=self.call_status,
            started_at=self.started_at,
            answer_at=self.answer_at,
            ended_at=self.ended_at,
            hangup_cause=self.hangup_cause,
        ) | {"duration": duration}


def parse_answer(fields: Fields) -> AnswerWebhook:
    """Needs `call_uuid`. Raises `WebhookRejected`."""
    call_uuid = _id(fields, "call_uuid")
    if not call_uuid:
        raise WebhookRejected(400, "call_uuid is missing")
    return AnswerWebhook(
        call_uuid=call_uuid,
        request_uuid=_id(fields, "request_uuid"),
        from_number=_phone(fields, "from"),
        to_number=_phone(fields, "to"),
        direction=_word(fields, "direction"),
        call_status=_word(fields, "call_status"),
        answered_at=_word(fields, "answered_at"),
    )


def parse_ring(fields: Fields) -> RingWebhook:
    """Needs one of the two ids. Raises `WebhookRejected`."""
    call_uuid, request_uuid = _ids(fields)
    return RingWebhook(
        call_uuid=call_uuid,
        request_uuid=request_uuid,
        from_number=_phone(fields, "from"),
        to_number=_phone(fields, "to"),
        direction=_word(fields, "direction"),
        call_status=_word(fields, "call_status"),
    )


def parse_hangup(fields: Fields) -> HangupWebhook:
    """Needs one usable id of the two; anything else that is absurd is left out. Raises `WebhookRejected`."""
    call_uuid, request_uuid = _usable_id(fields, "call_uuid"), _usable_id(fields, "request_uuid")
    if not call_uuid and not request_uuid:
        _ids(fields)  # says what is wrong with them
    return HangupWebhook(
        call_uuid=call_uuid,
        request_uuid=request_uuid,
        from_number=_phone(fields, "from", lenient=True),
        to_number=_phone(fields, "to", lenient=True),
        direction=_word(fields, "direction", lenient=True),
        call_status=_word(fields, "call_status", lenient=True),
        duration_s=_duration_s(fields.get("duration")),
        started_at=_word(fields, "started_at", lenient=True),
        answer_at=_word(fields, "answer_at", lenient=True),
        ended_at=_word(fields, "ended_at", lenient=True),
        hangup_cause=_word(fields, "hangup_cause", lenient=True),
    )


# -- fields in --


def _id(fields: Fields, name: str) -> str:
    usable = _usable_id(fields, name)
    if not usable and fields.get(name) not in (None, ""):
        raise WebhookRejected(400, f"{name} is no id (1 to 128 of A-Z a-z 0-9 . _ : @ = + ~ -)")
    return usable


def _usable_id(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) and _ID.fullmatch(value) else ""


def _ids(fields: Fields) -> tuple[str, str]:
    call_uuid, request_uuid = _id(fields, "call_uuid"), _id(fields, "request_uuid")
    if not call_uuid and not request_uuid:
        raise WebhookRejected(400, "call_uuid and request_uuid are missing")
    return call_uuid, request_uuid


def _phone(fields: Fields, name: str, *, lenient: bool = False) -> str:
    """A phone number as sent. An unquoted + in a query arrives as a space: it is put back."""
    text = _text(fields, name, MAX_NUMBER_CHARS, lenient)
    return "+" + text[1:] if text[:1] == " " and text[1:].isdigit() else text


def _word(fields: Fields, name: str, *, lenient: bool = False) -> str:
    return _text(fields, name, MAX_WORD_CHARS, lenient)


def _text(fields: Fields, name: str, most: int, lenient: bool) -> str:
    """Printable text of at most `most` characters, or a whole number as text; missing and null are empty."""
    value = fields.get(name)
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        value = str(value)
    if isinstance(value, str) and len(value) <= most and value.isprintable():
        return value
    if lenient:
        return ""
    raise WebhookRejected(400, f"{name} is no text of at most {most} characters")


def _duration_s(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0.0
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return 0.0
    return seconds if math.isfinite(seconds) and 0 <= seconds <= MAX_DURATION_S else 0.0


# -- fields out --


def _parties(webhook: AnswerWebhook | RingWebhook | HangupWebhook) -> dict[str, str]:
    return {
        "call_uuid": webhook.call_uuid,
        "request_uuid": webhook.request_uuid,
        "from": webhook.from_number,
        "to": webhook.to_number,
        "direction": webhook.direction,
    }


def _fields(parties: dict[str, str], **more: str) -> dict[str, str | int | float]:
    """What is known; empty fields are left out, as the carrier does."""
    return {name: value for name, value in (parties | more).items() if value}
