"""What a bot says to every caller in the same words: spoken once per process, before calls are taken, then only played.

    GREETING = Recording("Hello, how can I help you?")
    …
    await GREETING.record(make_tts(settings))  # in the rehearsal
    …
    await transport.say(GREETING)

A caller then hears it as soon as the pipeline has started. If the recording failed, the bot's voice says it.
"""

import asyncio
import uuid

from pipecat.frames.frames import (
    AggregatedTextFrame,
    EndFrame,
    Frame,
    LLMAssistantPushAggregationFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.tts_service import TTSService
from pipecat.utils.text.base_text_aggregator import TextType
from pipecat.workers.runner import WorkerRunner

from shared.telemetry.logs import get_logger
from worker.pipeline.finish import ask_to_cancel, close_clients, force

DEADLINE_S = 15.0
CANCEL_S = 2.0
RATE = 8000

log = get_logger(__name__)


class Recording:
    """A text, and how it sounds once that is known. One per bot and text, made where the module's constants are."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._pcm = b""
        self._rate = RATE

    @property
    def is_recorded(self) -> bool:
        return bool(self._pcm)

    async def record(self, tts: TTSService) -> None:
        """Have it spoken by this voice, which is used up. Raises nothing: a failure is logged."""
        if self.is_recorded:
            return
        tape = _Tape()
        pipeline = PipelineWorker(
            Pipeline([tts, tape]),
            params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
            enable_rtvi=False,
            enable_turn_tracking=False,
        )
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(pipeline)
        await pipeline.queue_frames([TTSSpeakFrame(self.text), EndFrame()])
        running = asyncio.create_task(runner.run(), name="recording")
        for end in (None, ask_to_cancel, force):
            if end is not None:
                await end(pipeline)
            await asyncio.wait({running}, timeout=DEADLINE_S if end is None else CANCEL_S)
            if running.done():
                break
        await close_clients(pipeline)
        running.cancel()
        if tape.is_complete:
            self._pcm, self._rate = bytes(tape.pcm), tape.rate
        else:
            log.warning("a recording failed; the text is spoken anew for every caller", text=self.text)

    def frames(self) -> list[Frame]:
        """What a voice sends when it says this, and nothing else is being said."""
        said_by = str(uuid.uuid4())
        announced = AggregatedTextFrame(self.text, TextType.SENTENCE, context_id=said_by, raw_text=self.text)
        announced.append_to_context, announced.will_be_spoken = False, True
        return [
            announced,
            TTSStartedFrame(context_id=said_by),
            TTSAudioRawFrame(self._pcm, self._rate, 1, context_id=said_by),
            TTSTextFrame(self.text, TextType.SENTENCE, context_id=said_by, segment_id=announced.id),
            LLMAssistantPushAggregationFrame(),
            TTSStoppedFrame(context_id=said_by),
        ]


class _Tape(FrameProcessor):
    """Keeps the audio that goes by."""

    def __init__(self) -> None:
        super().__init__()
        self.pcm = bytearray()
        self.rate = RATE
        self.is_complete = False

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self.pcm += frame.audio
            self.rate = frame.sample_rate
        elif isinstance(frame, TTSStoppedFrame):
            self.is_complete = bool(self.pcm)
        await self.push_frame(frame, direction)
