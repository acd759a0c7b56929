"""Piper's voice behind Pipecat's interface, over HTTP, with what is said again and again kept as audio.

Not Pipecat's `PiperHttpTTSService`: its module imports piper, which is GPL-3.
"""

import asyncio
import io
import wave
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import soxr
from pipecat.frames.frames import ErrorFrame, Frame, TTSAudioRawFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

from shared.settings import SettingsError
from worker.pipeline.offline.piper_server import START_DEADLINE_S, piper_url

TRUNK_RATE = 8000
REQUEST_TIMEOUT_S = 20.0
CHUNK_MS = 100
_KEPT_TEXTS = 64
_KEPT_LENGTH = 160  # characters: greetings and menus, at most about 10 s or 160 KB of audio each

_Key = tuple[str, Path | None, int, str]
_said_before: OrderedDict[_Key, bytes] = OrderedDict()


class PiperTTSService(TTSService):
    """Asks a piper server for each sentence and streams what it says at the pipeline's rate."""

    def __init__(self, *, url: str = "", voice: Path | None = None, **kwargs: Any) -> None:
        """`url` of a running piper; without one, this process' own is used, with `voice` (.onnx) if given."""
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            # Pipecat gives a sentence up after 3 s without audio, and a voice that just starts may take longer.
            stop_frame_timeout_s=REQUEST_TIMEOUT_S + START_DEADLINE_S,
            settings=TTSSettings(model=None, voice=None, language=None),
            **kwargs,
        )
        self._url = url
        self._voice = voice

    def can_generate_metrics(self) -> bool:
        """Pipecat measures the time to the first audio."""
        return True

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Say one sentence: 16-bit PCM in pieces of 100 ms."""
        try:
            pcm = await synthesise(self._url, self._voice, self.sample_rate, text)
        except (aiohttp.ClientError, TimeoutError, OSError, SettingsError) as error:
            yield ErrorFrame(f"piper: {type(error).__name__}: {error}")
            return
        await self.start_tts_usage_metrics(text)
        await self.stop_ttfb_metrics()
        size = self.sample_rate * CHUNK_MS // 1000 * 2
        for start in range(0, len(pcm), size):
            yield TTSAudioRawFrame(pcm[start : start + size], self.sample_rate, 1, context_id=context_id)


async def say_beforehand(url: str, voice: Path | None, texts: Iterable[str], rate: int = TRUNK_RATE) -> None:
    """Have a piper running, and these texts ready as audio. Raises `SettingsError`, `ImportError`."""
    for text in texts or ("Hello.",):
        await synthesise(url, voice, rate, text)


async def synthesise(url: str, voice: Path | None, rate: int, text: str) -> bytes:
    """The text as 16-bit PCM at `rate`. Raises what aiohttp raises, `TimeoutError`, `SettingsError`."""
    key = (url, voice, rate, text)
    if (kept := _said_before.get(key)) is not None:
        _said_before.move_to_end(key)
        return kept
    address = url.rstrip("/") or await piper_url(voice)
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"{address}/synthesize", json={"text": text}) as response,
    ):
        response.raise_for_status()
        spoken = await response.read()
    pcm = await asyncio.to_thread(_at_rate, spoken, rate)
    if len(text) <= _KEPT_LENGTH:
        _said_before[key] = pcm
        while len(_said_before) > _KEPT_TEXTS:
            _said_before.popitem(last=False)
    return pcm


def _at_rate(wav: bytes, rate: int) -> bytes:
    # The whole sentence at once: a stream resampler would keep its tail.
    with wave.open(io.BytesIO(wav)) as reader:
        given, channels = reader.getframerate(), reader.getnchannels()
        samples = np.frombuffer(reader.readframes(reader.getnframes()), "<i2")
    if channels > 1:
        samples = samples[::channels]
    if given == rate:
        return samples.tobytes()
    resampled: bytes = soxr.resample(samples, given, rate).astype("<i2").tobytes()
    return resampled
