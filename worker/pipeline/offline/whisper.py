"""Whisper behind Pipecat's interface: one model per process, one thread for all calls.

Pipecat's own service loads a model per call and transcribes on as many threads as there are calls. Here calls
queue for the one thread, so that recognition never takes the event loop's core, and memory stays that of one model.
"""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray
from pipecat.frames.frames import Frame, TranscriptionFrame
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.transcriptions.language import Language
from pipecat.utils.time import time_now_iso8601

from worker.pipeline.offline.keeper import NICENESS
from worker.pipeline.offline.models import whisper_folder

MODEL_RATE = 16000
NO_SPEECH = 0.6  # segments that are more likely noise than this are dropped, as whisper itself advises
BEAM_SIZE = 1  # wider beams heard nothing better on telephone speech
HOTWORDS = "Goodbye."  # without this it writes "bye bye" every second time
# Whisper looks at 30 s of audio, however short the sentence is. What is padding beyond a margin can be left out,
# which takes a quarter of the time; with less margin than this it begins to repeat itself.
_MARGIN_FRAMES = 500  # of 10 ms
# The turn's end waits so long at most for a transcript that is not final; ours always are, so this is a net.
SLOWEST_TRANSCRIPT_S = 3.0


async def load_model(folder: Path | None) -> None:
    """Have the model in memory, and one inference behind it. Raises `SettingsError`, `ImportError`."""
    silence = np.zeros(MODEL_RATE, np.float32)
    await asyncio.get_running_loop().run_in_executor(_thread(), _transcribe, folder, silence)


class SharedWhisperSTTService(SegmentedSTTService):
    """Recognises each stretch of speech that the voice activity detection marks."""

    def __init__(self, *, folder: Path | None = None, **kwargs: Any) -> None:
        """`folder` holds a faster-whisper model; without one, the model of the `offline` extra is used."""
        import faster_whisper  # noqa: F401  say that it is missing when the service is chosen, not at the first word

        super().__init__(
            settings=STTSettings(model="base", language=Language.EN),
            ttfs_p99_latency=SLOWEST_TRANSCRIPT_S,
            **kwargs,
        )
        self._folder = folder

    @property
    def wants_wav_segments(self) -> bool:
        """Plain PCM, without a WAV header."""
        return False

    def can_generate_metrics(self) -> bool:
        """Pipecat measures the time to a transcript."""
        return True

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Transcribe one stretch of 16-bit PCM at the pipeline's rate."""
        await self.start_processing_metrics()
        text = await asyncio.get_running_loop().run_in_executor(
            _thread(), recognise, self._folder, audio, self.sample_rate
        )
        await self.stop_processing_metrics()
        if text:
            yield TranscriptionFrame(text, self._user_id, time_now_iso8601(), Language.EN)


def recognise(folder: Path | None, pcm: bytes, rate: int) -> str:
    """What was said in 16-bit PCM at `rate`. Takes a core for a while: call it in a thread."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)
    if rate != MODEL_RATE:
        samples = soxr.resample(samples, rate, MODEL_RATE)
    return _transcribe(folder, samples)


def _transcribe(folder: Path | None, samples: NDArray[np.float32]) -> str:
    segments, _ = _model(folder).transcribe(
        samples,
        language="en",
        beam_size=BEAM_SIZE,
        hotwords=HOTWORDS,
        temperature=0.0,
        without_timestamps=True,
        condition_on_previous_text=False,
        max_new_tokens=16 + 8 * len(samples) // MODEL_RATE,
    )
    return " ".join(segment.text.strip() for segment in segments if segment.no_speech_prob < NO_SPEECH)


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="whisper", initializer=_give_way)


def _give_way() -> None:
    # Audio in real time goes first. On Linux niceness is a thread's own, and the model's threads inherit it.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


@cache
def _model(folder: Path | None) -> Any:
    from faster_whisper import WhisperModel

    class ShortSightedModel(WhisperModel):  # type: ignore[misc]
        def encode(self, features: NDArray[np.float32]) -> Any:
            heard = np.flatnonzero(features.any(axis=0))
            n_frames = (int(heard[-1]) if len(heard) else 0) + _MARGIN_FRAMES
            return super().encode(np.ascontiguousarray(features[:, :n_frames]))

    path = folder or whisper_folder()
    return ShortSightedModel(
        str(path), device="cpu", compute_type="int8", cpu_threads=1, num_workers=1, local_files_only=True
    )
