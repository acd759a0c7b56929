"""Messages → JSON text of the WebSocket, in the shapes of the carrier's documents and no other.

Compact, and pure ASCII whatever a name holds. Audio is most of the traffic, so its JSON is put together as text:
base64 and content types need no escaping.
"""

import binascii
import json

from shared.sfvopi.formats import AudioFormat
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

_dumps = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def render_command(command: Command) -> str:
    """What we send to the carrier."""
    match command:
        case PlayAudio():
            return '{"event":"playAudio","media":' + _media(command.payload, command.format) + "}"
        case ClearAudio():
            return _dumps(
                {"event": "clearAudio", "streamId": command.stream_id, "sequenceNumber": command.sequence_number}
            )
        case Checkpoint():
            return _dumps({"event": "checkpoint", "streamId": command.stream_id, "name": command.name})


def render_event(event: Event) -> str:
    """What the carrier sends to us."""
    match event:
        case MediaReceived():
            media = _media(event.payload, event.format)
            return '{"event":"media","streamId":' + _dumps(event.stream_id) + ',"media":' + media + "}"
        case StreamStarted():
            return _dumps({"event": "start", "streamId": event.stream_id, "callId": event.call_id})
        case DigitPressed():
            return _dumps({"event": "dtmf", "streamId": event.stream_id, "digit": event.digit})
        case AudioCleared():
            return _dumps({"event": "clearedAudio", "sequenceNumber": event.sequence_number})
        case CheckpointPlayed():
            return _dumps({"event": "playedStream", "name": event.name})


def _media(payload: bytes, format: AudioFormat) -> str:
    encoded = binascii.b2a_base64(payload, newline=False).decode("ascii")
    return f'{{"payload":"{encoded}","contentType":"{format.content_type}","sampleRate":{format.sample_rate}}}'
