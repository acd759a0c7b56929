"""Recognition, language model and voice inside the subject: the same for all, and as cheap as a service can be.

They stand on Pipecat's own base classes, whose cost every bot has; no socket, no model behind them. The recognition
answers 100 ms after the caller's speech, the model thinks for 200 ms, the voice begins after 100 ms.
"""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from functools import cache
from typing import Any

import numpy as np
from pipecat.frames.frames import (
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings, STTSettings, TTSSettings
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pipecat.utils.time import time_now_iso8601

STT_S, LLM_S, TTS_S = 0.1, 0.2, 0.1
TTFS_P99_S = 0.35  # what Deepgram's service tells the turn strategies of itself
SECONDS_PER_WORD = 0.25
CHUNK_S = 0.1  # as Cartesia's pieces are
GREETING = "Hello. Welcome to the Garden Restaurant. How can I help you?"
REPLY = "We are open every day from eleven in the morning until ten in the evening."
HEARD = "What are your opening hours on Sunday?"


class BenchSTT(STTService):
    """Takes all audio; says what it heard when the caller has stopped, as a finalized transcript."""

    def __init__(self, *, audio_passthrough: bool = True) -> None:
        settings = STTSettings(model="bench", language=None)
        super().__init__(audio_passthrough=audio_passthrough, ttfs_p99_latency=TTFS_P99_S, settings=settings)
        self._answering: asyncio.Task[None] | None = None

    def can_generate_metrics(self) -> bool:
        return True

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """A real one sends it away and yields nothing."""
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStartedSpeakingFrame):
            await self._forget()
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            await self._forget()
            self._answering = self.create_task(self._answer(), name="bench_stt")

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._forget()

    async def _answer(self) -> None:
        self.request_finalize()
        await asyncio.sleep(STT_S)
        self.confirm_finalize()
        await self.push_frame(TranscriptionFrame(HEARD, "", time_now_iso8601()))

    async def _forget(self) -> None:
        answering, self._answering = self._answering, None
        if answering is not None and not answering.done():
            await self.cancel_task(answering)


class BenchLLM(LLMService[Any]):
    """Greets whoever has not said anything; else says one sentence."""

    def __init__(self) -> None:
        unset = dict.fromkeys(field.name for field in dataclasses.fields(LLMSettings) if field.name != "extra")
        super().__init__(settings=LLMSettings(**{**unset, "model": "bench", "filter_incomplete_user_turns": False}))

    def can_generate_metrics(self) -> bool:
        return True

    def append_system_instruction(self, text: str) -> None:
        """Nothing of it is read."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        await self.start_ttfb_metrics()
        await asyncio.sleep(LLM_S)
        await self.stop_ttfb_metrics()
        for word in (REPLY if has_spoken(frame.context) else GREETING).split():
            await self._push_llm_text(f"{word} ")
        await self.push_frame(LLMFullResponseEndFrame())


class BenchTTS(TTSService):
    """A tone as long as the text, faster than it is spoken, at the pipeline's rate."""

    def __init__(self) -> None:
        settings = TTSSettings(model=None, voice=None, language=None)
        super().__init__(push_start_frame=True, push_stop_frames=True, settings=settings)

    def can_generate_metrics(self) -> bool:
        return True

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        await asyncio.sleep(TTS_S)
        await self.stop_ttfb_metrics()
        for piece in tone(len(text.split()), self.sample_rate):
            yield TTSAudioRawFrame(piece, self.sample_rate, 1, context_id=context_id)


def has_spoken(context: LLMContext) -> bool:
    """Whether the caller has said anything yet."""
    return any(isinstance(message, dict) and message.get("role") == "user" for message in context.get_messages())


@cache
def tone(words: int, rate: int) -> tuple[bytes, ...]:
    """So many words, as 16-bit PCM in pieces."""
    seconds = words * SECONDS_PER_WORD
    time = np.arange(int(rate * seconds)) / rate
    fade = np.minimum(1, np.minimum(time, seconds - time) / 0.01)
    pcm = (0.4 * 32767 * fade * np.sin(2 * np.pi * 440 * time)).astype("<i2").tobytes()
    size = int(rate * CHUNK_S) * 2
    return tuple(pcm[at : at + size] for at in range(0, len(pcm), size))
