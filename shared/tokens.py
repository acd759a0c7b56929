"""Stream tokens: the last path segment of the stream URL, signed, so that a stranger costs no Redis call.

A token carries the call, the worker that holds its slot, the audio format that the answer promised, and two
times. `attach_by_ms` binds the first attachment only; after that the token is good while the call lives, since
a carrier that reconnects uses the same URL. `valid_until_ms` ends it for good. The bot's name is in it for a worker
whose registry is away, or has lost the call: what else the record says can wait, which bot speaks cannot.

Signed, not secret: it holds no number. The key is the first of the secrets; all of them verify (rotation).
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.sfvopi.errors import UnsupportedFormat
from shared.sfvopi.formats import AudioFormat, Codec

VERSION = 1
MAX_LENGTH = 1024  # longer than any token of ours; checked before anything else is looked at
SIGNATURE_BYTES = 16


class TokenFault(StrEnum):
    """Why a token is refused. A closed set: it is a metric label."""

    MALFORMED = "malformed"
    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"


class TokenRejected(Exception):
    """The token is not good; `fault` says why."""

    def __init__(self, fault: TokenFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass(frozen=True, slots=True)
class StreamToken:
    """What a stream URL says. Times are Unix ms by Redis' clock."""

    call_id: str
    worker_id: str
    format: AudioFormat
    attach_by_ms: int
    valid_until_ms: int
    bot: str = ""
    is_local: bool = False  # given out by a gateway alone: the registry was away, and may not know of it yet


def sign_token(token: StreamToken, secret: str) -> str:
    """The token as URL-safe text (A-Z a-z 0-9 - _ and one dot)."""
    fields = [
        VERSION,
        token.call_id,
        token.worker_id,
        str(token.format.codec),
        token.format.sample_rate,
        token.attach_by_ms,
        token.valid_until_ms,
    ]
    if token.bot or token.is_local:
        fields += [token.bot, int(token.is_local)]
    body = _b64(json.dumps(fields, separators=(",", ":")).encode())
    return f"{body}.{_b64(_signature(body, secret))}"


def verify_token(text: str, secrets: Sequence[str], now_ms: int) -> StreamToken:
    """The token behind the text. Raises `TokenRejected`; never anything else, whatever the text."""
    body, dot, signature = text.partition(".")
    if not dot or len(text) > MAX_LENGTH or not text.isascii():
        raise TokenRejected(TokenFault.MALFORMED)
    try:
        given = _unb64(signature)
    except (ValueError, binascii.Error):
        raise TokenRejected(TokenFault.MALFORMED) from None
    # all secrets are tried, whichever matches: the time taken says nothing
    matches = [hmac.compare_digest(given, _signature(body, secret)) for secret in secrets]
    if not any(matches):
        raise TokenRejected(TokenFault.BAD_SIGNATURE)
    try:
        # what a newer version puts behind these is not for us
        version, call_id, worker_id, codec, rate, attach_by_ms, valid_until_ms, *more = json.loads(_unb64(body))
        bot, is_local = (*more, "", 0)[:2]
        format = AudioFormat(Codec(codec), rate)
        token = StreamToken(call_id, worker_id, format, attach_by_ms, valid_until_ms, str(bot), bool(is_local))
    except (ValueError, TypeError, UnsupportedFormat):
        raise TokenRejected(TokenFault.MALFORMED) from None
    if version != VERSION:
        raise TokenRejected(TokenFault.MALFORMED)
    if now_ms >= token.valid_until_ms:
        raise TokenRejected(TokenFault.EXPIRED)
    return token


def _signature(body: str, secret: str) -> bytes:
    return hmac.new(secret.encode(), body.encode(), hashlib.sha256).digest()[:SIGNATURE_BYTES]


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
