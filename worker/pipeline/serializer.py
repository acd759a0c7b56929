"""SFVoPI ↔ Pipecat frames: the one class of the carrier's guide, for today's Pipecat.

Works by itself inside Pipecat's `FastAPIWebsocketTransport`; our own transport, which lives through reconnections,
speaks the wire without it. Knows no socket. Nothing that a peer sends makes it raise.

Limits with Pipecat's own transport: it makes a new frame of each chunk before it is serialized, so the mark
"not interruptible" is lost there, and a barge-in clears the 40 to 80 ms of such speech that it keeps in flight.
Give it `audio_out_end_silence_secs=0`: its two seconds of silence at the end come as one message.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InputTransportMessageFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
)
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.serializers.base_serializer import FrameSerializer

from shared.sfvopi import g711
from shared.sfvopi.errors import DropReason
from shared.sfvopi.formats import PCMA_8K, AudioFormat
from shared.sfvopi.messages import (
    AudioCleared,
    CheckpointPlayed,
    ClearAudio,
    DigitPressed,
    Event,
    MediaReceived,
    PlayAudio,
    StreamStarted,
)
from shared.sfvopi.playout import Playout
from shared.sfvopi.reader import EventReader
from shared.sfvopi.render import render_command
from worker.pipeline.resampler import Resampler

# What we send is heard so much later: network, and the carrier's jitter buffer. Rather too long than too short:
# a clear of nothing does no harm, one that is missing leaves the bot talking over the caller.
CARRIER_DELAY_S = 0.25

_log = structlog.stdlib.get_logger(__name__)


class SFVoPIFrameSerializer(FrameSerializer):
    """One call's messages as frames, and back; audio in the format that the answer promised, both ways.

    From the carrier: `media` → InputAudioRawFrame, `dtmf` → InputDTMFFrame, `clearedAudio` and `playedStream` →
    InputTransportMessageFrame(message={"event": …}). `start` gives no frame: it only renews the stream's id.
    To the carrier: OutputAudioRawFrame → `playAudio`, InterruptionFrame → `clearAudio` if there is something to
    clear, OutputTransportMessage[Urgent]Frame → its message, which is a dict.
    """

    class InputParams(FrameSerializer.InputParams):
        """`sample_rate` (Hz) of what the pipeline hears, if it is not the pipeline's own input rate."""

        sample_rate: int | None = None

    def __init__(
        self,
        stream_id: str = "",
        format: AudioFormat = PCMA_8K,
        params: InputParams | None = None,
        *,
        clears_sent: int = 0,
        clock: Callable[[], float] = time.monotonic,
        on_drop: Callable[[DropReason], None] | None = None,
    ) -> None:
        """Serialize for the stream `stream_id`, or for the one that `start` will name if that is empty.

        `clears_sent` lets the numbers of an earlier stream of the same call go on; `on_drop` is told of each
        message that was dropped, and why.
        """
        params = params or SFVoPIFrameSerializer.InputParams()
        super().__init__(params)
        self._format = format
        self._stream_id = stream_id
        self._clears_sent = clears_sent
        self._clock = clock
        self._reader = EventReader(format, is_started=bool(stream_id), on_drop=on_drop)
        self._playout = Playout(CARRIER_DELAY_S)
        self._rate_in = params.sample_rate or 0
        self._resampler_in: Resampler | None = None
        self._resampler_out: Resampler | None = None
        self._rate_out = format.sample_rate

    @property
    def stream_id(self) -> str:
        """The stream that is spoken to; empty before the first `start`."""
        return self._stream_id

    @property
    def clears_sent(self) -> int:
        """Number of the latest `clearAudio`."""
        return self._clears_sent

    @property
    def dropped(self) -> Counter[DropReason]:
        """How many messages of the carrier were dropped, by reason."""
        return self._reader.dropped

    def unplayed_s(self) -> float:
        """An estimate, never too short, of how long the caller will still hear what was sent. 0 when all was heard."""
        return self._playout.unplayed_s(self._clock())

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]  # Pipecat's base does the same
        """Learn the pipeline's rates. Pipecat calls this twice, for both transports."""
        self._rate_in = self._rate_in or setup.audio_in_sample_rate
        if self._resampler_in is None and self._rate_in != self._format.sample_rate:
            self._resampler_in = Resampler(self._format.sample_rate, self._rate_in)

    def should_ignore_frame(self, frame: Frame) -> bool:
        """Whether the frame is RTVI's, which no phone company understands."""
        return isinstance(getattr(frame, "message", None), dict) and super().should_ignore_frame(frame)

    # -- from the carrier --

    async def deserialize(self, data: str | bytes) -> Frame | None:
        """The frame of a message; None if there is none, or if it was dropped."""
        event = self._reader.read(data, self._clock())
        return None if event is None else self.to_frame(event)

    def to_frame(self, event: Event) -> Frame | None:
        """The frame of an event that somebody else has read, if it has one."""
        match event:
            case MediaReceived():
                return self._heard(event.payload)
            case DigitPressed():
                return self._pressed(event.digit)
            case CheckpointPlayed():
                return InputTransportMessageFrame(message={"event": "playedStream", "name": event.name})
            case AudioCleared():
                message = {"event": "clearedAudio", "sequenceNumber": event.sequence_number}
                return InputTransportMessageFrame(message=message)
            case StreamStarted():
                self._stream_id = event.stream_id
                return None

    def _heard(self, payload: bytes) -> InputAudioRawFrame | None:
        pcm = g711.decode(payload, self._format)
        rate = self._format.sample_rate
        if self._resampler_in is not None:
            pcm, rate = self._resampler_in.resample(pcm), self._rate_in
        return InputAudioRawFrame(audio=pcm, sample_rate=rate, num_channels=1) if pcm else None

    def _pressed(self, digit: str) -> InputDTMFFrame | None:
        try:
            return InputDTMFFrame(button=KeypadEntry(digit))
        except ValueError:  # A to D: keys that no phone has, and Pipecat has no name for
            self._reader.drop(DropReason.BAD_FIELD)
            return None

    # -- to the carrier --

    async def serialize(self, frame: Frame) -> str | None:
        """The message of a frame; None if there is nothing to send."""
        match frame:
            case OutputAudioRawFrame():
                pcm = frame.audio if frame.num_channels == 1 else _first_channel(frame.audio, frame.num_channels)
                return self.serialize_audio(pcm, frame.sample_rate, interruptible=frame.interruptible)
            case InterruptionFrame():
                return self._clear()
            case OutputTransportMessageFrame() | OutputTransportMessageUrgentFrame():
                return None if self.should_ignore_frame(frame) else self._message(frame.message)
            case _:
                return None

    def serialize_audio(self, pcm: bytes, sample_rate: int, *, interruptible: bool = True) -> str | None:
        """`playAudio` of 16-bit mono audio. What is not interruptible is not cleared while it is being played."""
        payload = g711.encode(self._resampled(pcm[: len(pcm) // 2 * 2], sample_rate), self._format)
        if not payload:
            return None
        self._playout.sent(self._format.duration_ms(len(payload)) / 1000, self._clock(), keep=not interruptible)
        return render_command(PlayAudio(payload, self._format))

    def _resampled(self, pcm: bytes, rate: int) -> bytes:
        if rate != self._rate_out:
            self._rate_out = rate
            self._resampler_out = (
                Resampler(rate, self._format.sample_rate) if rate != self._format.sample_rate else None
            )
        return pcm if self._resampler_out is None else self._resampler_out.resample(pcm)

    def _clear(self) -> str | None:
        """`clearAudio`, unless all was played (Pipecat interrupts at every turn) or some of it must be heard."""
        now = self._clock()
        if self._playout.unplayed_s(now) == 0 or self._playout.is_keeping(now):
            return None
        self._playout.cleared(now)
        if self._resampler_out is not None:
            self._resampler_out.reset()
        self._clears_sent += 1
        return render_command(ClearAudio(self._stream_id, self._clears_sent))

    def _message(self, message: Any) -> str | None:
        """A bot's own message as JSON. A checkpoint is given the stream's id, which a bot need not know."""
        if not isinstance(message, dict):
            _log.warning("message_not_sent", why="it is no dict", type=type(message).__name__)
            return None
        if message.get("event") == "checkpoint":
            message = {"event": "checkpoint", "streamId": self._stream_id} | message
        try:
            return json.dumps(message, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            _log.warning("message_not_sent", why="it is no JSON", error=type(error).__name__)
            return None


def _first_channel(pcm: bytes, channels: int) -> bytes:
    """One channel of interleaved audio: a phone has one ear."""
    samples = memoryview(pcm[: len(pcm) // (2 * channels) * 2 * channels]).cast("h")
    return samples[::channels].tobytes()
