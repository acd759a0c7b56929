"""The Stream JSON: what an answer webhook is answered with, and what the simulated carrier reads from any server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.sfvopi.errors import UnsupportedFormat, WebhookRejected
from shared.sfvopi.formats import PCMA_8K, AudioFormat, Codec

DIRECTIONS = frozenset({"BOTH", "INBOUND", "OUTBOUND"})
DEFAULT_STREAM_TIMEOUT_S = 86400


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """Connect the call to the WebSocket at `url`, in `format` both ways.

    `bidirectional` and `keep_call_alive` stand in older documents only: None leaves them out.
    """

    url: str
    format: AudioFormat = PCMA_8K
    direction: str = "BOTH"
    stream_timeout_s: int = DEFAULT_STREAM_TIMEOUT_S
    extra_headers: Mapping[str, str] = field(default_factory=dict)
    bidirectional: bool | None = None
    keep_call_alive: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """As the carrier wants it."""
        stream: dict[str, Any] = {
            "url": self.url,
            "codec": str(self.format.codec),
            "sample_rate": self.format.sample_rate,
            "direction": self.direction,
            "stream_timeout": self.stream_timeout_s,
            "extra_headers": dict(self.extra_headers),
        }
        for name in ("bidirectional", "keep_call_alive"):
            if (value := getattr(self, name)) is not None:
                stream[name] = value
        return {"stream": stream}

    @classmethod
    def from_json(cls, answer: object) -> "StreamAnswer":
        """Read what a server answered. Raises `WebhookRejected` that says what is wrong with it."""
        stream = answer.get("stream") if isinstance(answer, dict) else None
        if not isinstance(stream, dict):
            raise WebhookRejected(400, 'the answer is no JSON object with an object "stream"')
        return cls(
            url=_url(stream.get("url")),
            format=_format(stream.get("codec", "PCMA"), stream.get("sample_rate", 8000)),
            direction=_direction(stream.get("direction", "BOTH")),
            stream_timeout_s=_timeout_s(stream.get("stream_timeout", DEFAULT_STREAM_TIMEOUT_S)),
            extra_headers=_headers(stream.get("extra_headers")),
            bidirectional=_switch(stream, "bidirectional"),
            keep_call_alive=_switch(stream, "keep_call_alive"),
        )


def _url(value: object) -> str:
    if not isinstance(value, str) or not value.startswith(("wss://", "ws://")):
        raise WebhookRejected(400, "stream.url is no wss:// URL")
    return value


def _format(codec: object, rate: object) -> AudioFormat:
    if not isinstance(codec, str) or codec not in Codec.__members__:
        raise WebhookRejected(400, "stream.codec is none of " + ", ".join(Codec))
    try:
        return AudioFormat(Codec[codec], _whole(rate, "stream.sample_rate"))
    except UnsupportedFormat as error:
        raise WebhookRejected(400, f"stream.sample_rate: {error}") from None


def _direction(value: object) -> str:
    if not isinstance(value, str) or value not in DIRECTIONS:
        raise WebhookRejected(400, "stream.direction is none of " + ", ".join(sorted(DIRECTIONS)))
    return value


def _timeout_s(value: object) -> int:
    seconds = _whole(value, "stream.stream_timeout")
    if seconds <= 0:
        raise WebhookRejected(400, "stream.stream_timeout is not positive")
    return seconds


def _whole(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise WebhookRejected(400, f"{name} is no whole number")
    return value


def _headers(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise WebhookRejected(400, "stream.extra_headers is no object of strings")
    return dict(value)


def _switch(stream: Mapping[str, object], name: str) -> bool | None:
    value = stream.get(name)
    if value is not None and not isinstance(value, bool):
        raise WebhookRejected(400, f"stream.{name} is neither true nor false")
    return value
