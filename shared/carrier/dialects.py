"""The carrier's messages of one stream as JSON text, in SFVoPI's own shapes or in a superset that Plivo's clients read.

A superset message is valid SFVoPI with Plivo's fields beside: ids also under `start`, the digit also under `dtmf`,
`sequenceNumber` and `streamId` everywhere, `track`, `chunk` and `timestamp` in media.
"""

import json
from typing import Any, Protocol

from shared.carrier.plan import Dialect
from shared.sfvopi.formats import FRAME_MS, AudioFormat, Codec
from shared.sfvopi.messages import AudioCleared, CheckpointPlayed, DigitPressed, StreamStarted
from shared.sfvopi.render import render_event

PLIVO_CONTENT_TYPES = {Codec.PCMA: "audio/x-alaw", Codec.PCMU: "audio/x-mulaw", Codec.L16: "audio/x-l16"}


class Messages(Protocol):
    """What the carrier can say on a stream. `payload` is base64; `media` is called 50 times a second."""

    def start(self) -> str: ...
    def media(self, payload: str) -> str: ...
    def dtmf(self, digit: str) -> str: ...
    def cleared(self, number: int) -> str: ...
    def played(self, name: str) -> str: ...


def speak_dialect(dialect: Dialect, stream_id: str, call_id: str, format: AudioFormat) -> Messages:
    """The messages of a new stream."""
    kind = SupersetMessages if dialect is Dialect.SUPERSET else SFVoPIMessages
    return kind(stream_id, call_id, format)


class SFVoPIMessages:
    """As documented, and nothing more."""

    def __init__(self, stream_id: str, call_id: str, format: AudioFormat) -> None:
        self._stream_id = stream_id
        self._call_id = call_id
        self._head = f'{{"event":"media","streamId":{json.dumps(stream_id)},"media":{{"payload":"'
        self._tail = f'","contentType":"{format.content_type}","sampleRate":{format.sample_rate}}}}}'

    def start(self) -> str:
        return render_event(StreamStarted(self._stream_id, self._call_id))

    def media(self, payload: str) -> str:
        return self._head + payload + self._tail

    def dtmf(self, digit: str) -> str:
        return render_event(DigitPressed(digit, self._stream_id))

    def cleared(self, number: int) -> str:
        return render_event(AudioCleared(number))

    def played(self, name: str) -> str:
        return render_event(CheckpointPlayed(name))


class SupersetMessages:
    """SFVoPI's and Plivo's shapes in one object."""

    def __init__(self, stream_id: str, call_id: str, format: AudioFormat) -> None:
        self._stream_id = stream_id
        self._call_id = call_id
        self._format = format
        self._content_type = PLIVO_CONTENT_TYPES[format.codec]
        self._id = json.dumps(stream_id)
        self._tail = f'","contentType":"{self._content_type}","sampleRate":{format.sample_rate}}}}}'
        self._number = 0
        self._chunk = 0

    def start(self) -> str:
        start = {
            "callId": self._call_id,
            "streamId": self._stream_id,
            "accountId": "sfvopi",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": self._content_type, "sampleRate": self._format.sample_rate},
        }
        return self._render("start", callId=self._call_id, start=start, extra_headers="{}")

    def media(self, payload: str) -> str:
        self._chunk += 1
        return (
            f'{{"event":"media","sequenceNumber":{self._next()},"streamId":{self._id},"media":{{"track":"inbound",'
            f'"timestamp":"{self._timestamp_ms}","chunk":{self._chunk},"payload":"{payload}{self._tail}'
        )

    def dtmf(self, digit: str) -> str:
        nested = {"track": "inbound", "digit": digit, "timestamp": str(self._timestamp_ms)}
        return self._render("dtmf", digit=digit, dtmf=nested)

    def cleared(self, number: int) -> str:
        return self._render("clearedAudio", **({"sequenceNumber": number} if number else {}))

    def played(self, name: str) -> str:
        return self._render("playedStream", name=name)

    @property
    def _timestamp_ms(self) -> int:
        return self._chunk * FRAME_MS

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _render(self, event: str, **fields: Any) -> str:
        message = {"event": event, "sequenceNumber": self._next(), "streamId": self._stream_id} | fields
        return json.dumps(message, separators=(",", ":"))
