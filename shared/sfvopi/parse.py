"""JSON text of the WebSocket → messages: a tolerant reader that raises `MessageDropped` and nothing else.

Tolerant where the carrier's documents are silent (ids at top level or under `start`, a digit flat or nested,
numbers as text, missing audio format), strict where a guess would be heard (codec, rate, payload).
"""

import binascii
import json
from collections.abc import Callable
from typing import Any

from shared.sfvopi.errors import DropReason, MessageDropped, UnsupportedFormat
from shared.sfvopi.formats import AudioFormat, Codec
from shared.sfvopi.messages import (
    AudioCleared,
    Checkpoint,
    CheckpointPlayed,
    ClearAudio,
    Command,
    DigitPressed,
    Event,
    MediaReceived,
    PlayAudio,
    StreamStarted,
)

MAX_MESSAGE_BYTES = 64 * 1024  # a third of a second of L16 at 48 kHz: far more than any frame
MAX_TEXT_CHARS = 256  # ids and names of checkpoints
MAX_SEQUENCE_NUMBER = 2**53  # what every JSON reader can hold

# Names are compared in lower case and without parameters such as `;rate=8000`.
CODECS_BY_CONTENT_TYPE: dict[str, Codec] = {
    "audio/pcma": Codec.PCMA,
    "audio/x-alaw": Codec.PCMA,
    "audio/pcmu": Codec.PCMU,
    "audio/x-mulaw": Codec.PCMU,
    "audio/x-l16": Codec.L16,
    "audio/l16": Codec.L16,
}
DIGITS = frozenset("0123456789*#ABCD")

Fields = dict[str, Any]


def parse_event(frame: str | bytes, negotiated: AudioFormat) -> Event:
    """Read what the carrier sent on a stream whose answer promised `negotiated`. Raises `MessageDropped`."""
    message, name = _read_object(frame)
    parser = _EVENTS.get(name)
    if parser is None:
        raise MessageDropped(DropReason.UNKNOWN_EVENT)
    return parser(message, negotiated)


def parse_command(frame: str | bytes, negotiated: AudioFormat | None = None) -> Command:
    """Read what a server sent to the carrier. Raises `MessageDropped`.

    Audio keeps the format that it declares, so that the carrier can judge it; `negotiated` fills in what is
    not declared (without it, undeclared is dropped).
    """
    message, name = _read_object(frame)
    parser = _COMMANDS.get(name)
    if parser is None:
        raise MessageDropped(DropReason.UNKNOWN_EVENT)
    return parser(message, negotiated)


# -- JSON --


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _read_object(frame: str | bytes) -> tuple[Fields, str]:
    """The JSON object of a frame, and its `event`."""
    if len(frame) > MAX_MESSAGE_BYTES:  # of text these are characters: cheap, and never too strict
        raise MessageDropped(DropReason.TOO_LARGE)
    if not isinstance(frame, str):
        raise MessageDropped(DropReason.NOT_TEXT)
    try:
        message = _DECODER.decode(frame)
    except (ValueError, RecursionError):  # ValueError: no JSON, NaN, or an integer of thousands of digits
        raise MessageDropped(DropReason.NOT_JSON) from None
    if not isinstance(message, dict):
        raise MessageDropped(DropReason.NOT_OBJECT)
    name = message.get("event")
    if not isinstance(name, str):
        raise MessageDropped(DropReason.NO_EVENT)
    return message, name


# -- events: carrier → us --


def _started(message: Fields, _: AudioFormat) -> StreamStarted:
    nested = _object_or_empty(message.get("start"))
    stream_id = _text(message.get("streamId")) or _text(nested.get("streamId"))
    if not stream_id:
        raise MessageDropped(DropReason.BAD_FIELD, "streamId")
    # The carrier's own id of the call is for the logs only: a start without it is good enough.
    return StreamStarted(stream_id, _text(message.get("callId")) or _text(nested.get("callId")) or "")


def _media(message: Fields, negotiated: AudioFormat) -> MediaReceived:
    media = _object(message, "media")
    if _declared_format(media, negotiated) != negotiated:
        raise MessageDropped(DropReason.WRONG_FORMAT)
    return MediaReceived(_payload(media, negotiated), negotiated, _text(message.get("streamId")) or "")


def _digit(message: Fields, _: AudioFormat) -> DigitPressed:
    digit = _text(message.get("digit")) or _text(_object_or_empty(message.get("dtmf")).get("digit")) or ""
    digit = digit.upper()
    if digit not in DIGITS:
        raise MessageDropped(DropReason.BAD_FIELD, "digit")
    return DigitPressed(digit, _text(message.get("streamId")) or "")


def _cleared(message: Fields, _: AudioFormat) -> AudioCleared:
    return AudioCleared(_number(message, "sequenceNumber", MAX_SEQUENCE_NUMBER))


def _played(message: Fields, _: AudioFormat) -> CheckpointPlayed:
    return CheckpointPlayed(_required_text(message, "name"))


_EVENTS: dict[str, Callable[[Fields, AudioFormat], Event]] = {
    "start": _started,
    "media": _media,
    "dtmf": _digit,
    "clearedAudio": _cleared,
    "playedStream": _played,
}


# -- commands: us → carrier --


def _play(message: Fields, negotiated: AudioFormat | None) -> PlayAudio:
    media = _object(message, "media")
    declared = _declared_format(media, negotiated)
    return PlayAudio(_payload(media, declared), declared)


def _clear(message: Fields, _: AudioFormat | None) -> ClearAudio:
    # Servers written for Plivo send no number.
    number = _number(message, "sequenceNumber", MAX_SEQUENCE_NUMBER) if "sequenceNumber" in message else 0
    return ClearAudio(_text(message.get("streamId")) or "", number)


def _checkpoint(message: Fields, _: AudioFormat | None) -> Checkpoint:
    return Checkpoint(_text(message.get("streamId")) or "", _required_text(message, "name"))


_COMMANDS: dict[str, Callable[[Fields, AudioFormat | None], Command]] = {
    "playAudio": _play,
    "clearAudio": _clear,
    "checkpoint": _checkpoint,
}


# -- fields --


def _object(message: Fields, name: str) -> Fields:
    value = message.get(name)
    if not isinstance(value, dict):
        raise MessageDropped(DropReason.BAD_FIELD, name)
    return value


def _object_or_empty(value: object) -> Fields:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    """Text, or an integer as text; None for anything else, and for text that no log could write."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARS:
        return None
    return value if value.isascii() or _is_unicode(value) else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _required_text(message: Fields, name: str) -> str:
    text = _text(message.get(name))
    if not text:
        raise MessageDropped(DropReason.BAD_FIELD, name)
    return text


def _number(fields: Fields, name: str, most: int) -> int:
    """A whole number from 0 to `most`, as JSON number or as text."""
    value: Any = fields.get(name)
    is_digits = isinstance(value, str) and len(value) <= 16 and value.isascii() and value.isdigit()
    if is_digits or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise MessageDropped(DropReason.BAD_FIELD, name)
    return value


def _declared_format(media: Fields, negotiated: AudioFormat | None) -> AudioFormat:
    """The format that `media` declares; what it leaves out is as negotiated, never as somebody's default."""
    content_type, rate = media.get("contentType"), media.get("sampleRate")
    if negotiated is not None:
        if content_type == negotiated.content_type and rate == negotiated.sample_rate and rate is not True:
            return negotiated  # nearly every message
        content_type = negotiated.content_type if content_type is None else content_type
        rate = negotiated.sample_rate if rate is None else rate
    if not isinstance(content_type, str):
        raise MessageDropped(DropReason.BAD_FIELD, "contentType")
    codec = CODECS_BY_CONTENT_TYPE.get(content_type.partition(";")[0].strip().lower())
    if codec is None:
        raise MessageDropped(DropReason.WRONG_FORMAT, "contentType")
    try:
        return AudioFormat(codec, _number({"sampleRate": rate}, "sampleRate", 1_000_000))
    except UnsupportedFormat:
        raise MessageDropped(DropReason.WRONG_FORMAT, "sampleRate") from None


def _payload(media: Fields, format: AudioFormat) -> bytes:
    """The audio of `media`: at least one sample, and whole ones."""
    text = media.get("payload")
    if not isinstance(text, str):
        raise MessageDropped(DropReason.BAD_FIELD, "payload")
    try:
        payload = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # not base64, or not even ASCII
        raise MessageDropped(DropReason.BAD_PAYLOAD, "not base64") from None
    if not payload or len(payload) % format.sample_width:
        raise MessageDropped(DropReason.BAD_PAYLOAD, "not whole samples")
    return payload
