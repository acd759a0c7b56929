"""What the resampler passes, stops, delays and keeps back, measured on tones, clicks and an utterance."""

import numpy as np
import numpy.typing as npt
import pytest

from worker.pipeline.resampler import Resampler

RATES = [(16000, 8000), (24000, 8000), (44100, 8000), (22050, 8000), (8000, 16000), (8000, 24000), (16000, 48000)]
Signal = npt.NDArray[np.float64]


def tone(frequency: float, rate: int, seconds: float = 0.5) -> Signal:
    return 10000 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


def resampled(signal: Signal, rate_in: int, rate_out: int, chunk_ms: int = 20) -> Signal:
    resampler, size = Resampler(rate_in, rate_out), rate_in * chunk_ms // 1000
    pcm = signal.astype("<i2")
    chunks = [resampler.resample(pcm[n : n + size].tobytes()) for n in range(0, len(pcm), size)]
    return np.frombuffer(b"".join(chunks), "<i2").astype(np.float64)


def level(signal: Signal) -> float:
    """Level of the middle of a signal, in dB below a tone."""
    middle = signal[len(signal) // 4 : -len(signal) // 4]
    return float(20 * np.log10(np.sqrt(np.mean(middle**2)) / (10000 / np.sqrt(2)) + 1e-9))


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_what_a_telephone_carries_passes_unchanged(rate_in: int, rate_out: int) -> None:
    for frequency in (100, 300, 1000, 3000, 3400):
        assert level(resampled(tone(frequency, rate_in), rate_in, rate_out)) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(("rate_in", "frequency"), [(16000, 4700), (16000, 6000), (24000, 9000), (44100, 15000)])
def test_what_the_lower_rate_cannot_hold_is_stopped_and_not_folded_back(rate_in: int, frequency: int) -> None:
    assert level(resampled(tone(frequency, rate_in), rate_in, 8000)) < -55


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
@pytest.mark.parametrize("chunk_ms", [10, 20, 40])
def test_every_chunk_comes_out_in_full_and_at_once(rate_in: int, rate_out: int, chunk_ms: int) -> None:
    resampler, made = Resampler(rate_in, rate_out), 0
    for n in range(1, 26):
        made += len(resampler.resample(bytes(2 * (rate_in * chunk_ms // 1000)))) // 2
        assert abs(made - n * (rate_in * chunk_ms // 1000) * rate_out / rate_in) < 1


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_chunks_are_joined_without_a_seam(rate_in: int, rate_out: int) -> None:
    signal = tone(440, rate_in)
    whole, cut = (resampled(signal, rate_in, rate_out, chunk_ms=ms) for ms in (500, 10))
    assert np.abs(whole - cut[: len(whole)]).max() <= 1


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_the_end_of_an_utterance_arrives_to_within_5_ms(rate_in: int, rate_out: int) -> None:
    """Incident that this guards against: the last 52 ms of every sentence stayed in the resampler."""
    utterance = np.zeros(rate_in)
    utterance[-rate_in * 5 // 1000] = 30000  # a click, 5 ms before the end
    heard = resampled(utterance, rate_in, rate_out)
    whole = resampled(np.concatenate((utterance, np.zeros(rate_in // 10))), rate_in, rate_out)
    assert np.sum(heard**2) / np.sum(whole**2) > 0.999
    delay_s = np.argmax(np.abs(whole)) / rate_out - (1 - 0.005)
    assert delay_s == pytest.approx(0.0015, abs=0.0004) or delay_s < 0.0015


def test_after_a_reset_nothing_is_left_of_what_came_before() -> None:
    resampler = Resampler(16000, 8000)
    resampler.resample(tone(440, 16000).astype("<i2").tobytes())
    resampler.reset()
    assert set(resampler.resample(bytes(640))) == {0}


def test_full_scale_is_clipped_and_not_wrapped() -> None:
    square = 32767 * np.sign(tone(200, 16000))
    assert np.abs(np.diff(resampled(square, 16000, 8000))).max() < 50000
    assert resampled(square, 16000, 8000).max() == 32767


def test_no_audio_makes_none() -> None:
    resampler = Resampler(44100, 8000)
    assert resampler.resample(b"") == b""
    assert resampler.resample(bytes(2)) in (b"", bytes(2))
