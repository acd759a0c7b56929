"""The eight messages of the WebSocket, as frozen values.

Events come from the carrier and are named in the past tense; commands go to it and are imperative. How they
look as JSON is the business of `parse` and `render`.
"""

from dataclasses import dataclass
from typing import ClassVar

from shared.sfvopi.formats import AudioFormat


@dataclass(frozen=True, slots=True)
class StreamStarted:
    """`start`: the first message of a stream, and again after a reconnection. Its call_id is the carrier's own."""

    wire_name: ClassVar[str] = "start"
    stream_id: str
    call_id: str


@dataclass(frozen=True, slots=True)
class MediaReceived:
    """`media`: usually 20 ms of the caller's audio, encoded as `format` says."""

    wire_name: ClassVar[str] = "media"
    payload: bytes
    format: AudioFormat
    stream_id: str = ""


@dataclass(frozen=True, slots=True)
class DigitPressed:
    """`dtmf`: one of 0-9 * # A-D."""

    wire_name: ClassVar[str] = "dtmf"
    digit: str
    stream_id: str = ""


@dataclass(frozen=True, slots=True)
class AudioCleared:
    """`clearedAudio`: the carrier has dropped its queue, as asked by the clear of this number."""

    wire_name: ClassVar[str] = "clearedAudio"
    sequence_number: int


@dataclass(frozen=True, slots=True)
class CheckpointPlayed:
    """`playedStream`: all audio before the checkpoint of this name has been played. May never come."""

    wire_name: ClassVar[str] = "playedStream"
    name: str


@dataclass(frozen=True, slots=True)
class PlayAudio:
    """`playAudio`: audio for the caller, queued behind what was sent before."""

    wire_name: ClassVar[str] = "playAudio"
    payload: bytes
    format: AudioFormat


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """`clearAudio`: drop the queued audio at once. Numbers count from 1 within a call."""

    wire_name: ClassVar[str] = "clearAudio"
    stream_id: str
    sequence_number: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`checkpoint`: tell us (`playedStream`) when the audio sent so far has been played."""

    wire_name: ClassVar[str] = "checkpoint"
    stream_id: str
    name: str


Event = StreamStarted | MediaReceived | DigitPressed | AudioCleared | CheckpointPlayed
Command = PlayAudio | ClearAudio | Checkpoint
