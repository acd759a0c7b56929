"""The shared Silero analyzer decides as the stock one, and streams do not disturb each other."""

import numpy as np
import pytest
from pipecat.audio.vad.silero import SileroVADAnalyzer

from worker.pipeline.vad import PHONE_PARAMS, SharedSileroVADAnalyzer

RATE = 8000


def audio_like_speech(seed: int, seconds: float = 3.0) -> bytes:
    """Bursts of a harmonic buzz with moving formants, and noise between them: enough to move Silero both ways."""
    random = np.random.default_rng(seed)
    time = np.arange(int(RATE * seconds)) / RATE
    pitch = 110 + 40 * np.sin(2 * np.pi * 2 * time + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 20))
    gate = (np.sin(2 * np.pi * 0.7 * time + seed) > 0) * (0.6 + 0.4 * np.sin(2 * np.pi * 5 * time))
    wave = 0.25 * buzz * gate + 0.01 * random.standard_normal(len(time))
    return (np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes()


async def states(analyzer: SileroVADAnalyzer, audio: bytes) -> list[str]:
    return [str(await analyzer.analyze_audio(audio[at : at + 320])) for at in range(0, len(audio), 320)]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_shared_analyzer_decides_as_the_stock_one(seed: int) -> None:
    audio = audio_like_speech(seed)
    stock = SileroVADAnalyzer(sample_rate=RATE, params=PHONE_PARAMS)
    stock.set_sample_rate(RATE)
    ours = SharedSileroVADAnalyzer(sample_rate=RATE)
    ours.set_sample_rate(RATE)
    expected = await states(stock, audio)
    await stock.cleanup()
    assert await states(ours, audio) == expected
    assert len(set(expected)) > 1, "the audio moved nothing, so it compared nothing"


async def test_interleaved_streams_keep_their_own_state() -> None:
    audios = [audio_like_speech(seed) for seed in (1, 2)]
    alone = []
    for audio in audios:
        analyzer = SharedSileroVADAnalyzer(sample_rate=RATE)
        analyzer.set_sample_rate(RATE)
        alone.append(await states(analyzer, audio))
    together = [SharedSileroVADAnalyzer(sample_rate=RATE) for _ in audios]
    heard: list[list[str]] = [[], []]
    for analyzer in together:
        analyzer.set_sample_rate(RATE)
    for at in range(0, len(audios[0]), 320):
        for index, analyzer in enumerate(together):
            heard[index].append(str(await analyzer.analyze_audio(audios[index][at : at + 320])))
    assert heard == alone
