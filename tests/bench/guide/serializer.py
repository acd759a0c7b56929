"""SFVoPI ↔ Pipecat frames as the guide's serializer has it: 16 kHz inside, soxr in between, both ways."""

import base64
import json

from loguru import logger
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.audio.utils import alaw_to_pcm, create_stream_resampler, pcm_to_alaw
from pipecat.frames.frames import (
    AudioRawFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InputTransportMessageFrame,
    InterruptionFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
)
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.serializers.base_serializer import FrameSerializer

WIRE_RATE = 8000


class SFVoPISerializer(FrameSerializer):
    """One call's, A-law at 8 kHz on the wire."""

    def __init__(self, stream_id: str) -> None:
        super().__init__(FrameSerializer.InputParams())
        self._stream_id = stream_id
        self._sample_rate = 0
        self._clears = 0
        self._input_resampler = create_stream_resampler()
        self._output_resampler = create_stream_resampler()

    async def setup(self, setup: FrameProcessorSetup) -> None:
        self._sample_rate = setup.audio_in_sample_rate

    async def serialize(self, frame: Frame) -> str | bytes | None:
        if isinstance(frame, InterruptionFrame):
            self._clears += 1
            return json.dumps({"event": "clearAudio", "streamId": self._stream_id, "sequenceNumber": self._clears})
        if isinstance(frame, AudioRawFrame):
            data = await pcm_to_alaw(frame.audio, frame.sample_rate, WIRE_RATE, self._output_resampler)
            if not data:
                return None
            payload = base64.b64encode(data).decode("utf-8")
            media = {"payload": payload, "contentType": "audio/PCMA", "sampleRate": WIRE_RATE}
            return json.dumps({"event": "playAudio", "media": media})
        if isinstance(frame, OutputTransportMessageFrame | OutputTransportMessageUrgentFrame):
            return None if self.should_ignore_frame(frame) else json.dumps(frame.message)
        return None

    async def deserialize(self, data: str | bytes) -> Frame | None:
        message = json.loads(data)
        match message.get("event"):
            case "media":
                payload = base64.b64decode(message["media"]["payload"])
                pcm = await alaw_to_pcm(payload, WIRE_RATE, self._sample_rate, self._input_resampler)
                if not pcm:  # soxr gathers several
                    return None
                return InputAudioRawFrame(audio=pcm, num_channels=1, sample_rate=self._sample_rate)
            case "dtmf":
                return InputDTMFFrame(KeypadEntry(message["digit"]))
            case "playedStream" | "clearedAudio":
                return InputTransportMessageFrame(message=message)
            case event:
                logger.warning(f"unknown event: {event}")
                return None
