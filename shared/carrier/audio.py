"""Sound as 16-bit mono PCM: WAV files in and out, tones and noise, another sample rate, where speech is loud."""

import array
import audioop
import importlib.util
import math
import random
import wave
from pathlib import Path

from shared.carrier.heard import LOUD_RMS
from shared.sfvopi.formats import FRAME_MS

_WIDTH = 2


def tone(hz: float, s: float, rate: int = 8000, level: float = 0.3) -> bytes:
    """A sine; level 1.0 is full scale."""
    step = 2 * math.pi * hz / rate
    return array.array("h", (round(32767 * level * math.sin(step * n)) for n in range(round(s * rate)))).tobytes()


def noise(s: float, rate: int = 8000, level: float = 0.05, seed: int = 1) -> bytes:
    """White noise, the same for the same seed."""
    peak = 32767 * level
    rng = random.Random(seed)
    return array.array("h", (round(rng.uniform(-peak, peak)) for _ in range(round(s * rate)))).tobytes()


def silence(s: float, rate: int = 8000) -> bytes:
    return bytes(round(s * rate) * _WIDTH)


def read_wav(path: str | Path, rate: int = 8000) -> bytes:
    """A mono 16-bit WAV at `rate`. Raises ValueError for another kind of file, OSError if there is none."""
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, file_rate, frames, _, _ = file.getparams()
            pcm = file.readframes(frames)
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path} is no WAV file that can be read ({error})") from None
    if channels != 1 or width != _WIDTH:
        raise ValueError(f"{path} has {channels} channels of {width * 8} bits: needed is one of 16 bits")
    return resample(pcm, file_rate, rate)


def write_wav(path: str | Path, pcm: bytes, rate: int) -> None:
    """One mono sound as a file."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, _WIDTH, rate, 0, "NONE", ""))
        file.writeframes(pcm)


def write_stereo_wav(path: str | Path, left: bytes, right: bytes, rate: int) -> None:
    """Two mono sounds as one file; the shorter is filled up with silence."""
    length = max(len(left), len(right))
    both = audioop.add(
        audioop.tostereo(left.ljust(length, b"\0"), _WIDTH, 1, 0),
        audioop.tostereo(right.ljust(length, b"\0"), _WIDTH, 0, 1),
        _WIDTH,
    )
    with wave.open(str(path), "wb") as file:
        file.setparams((2, _WIDTH, rate, 0, "NONE", ""))
        file.writeframes(both)


def resample(pcm: bytes, from_rate: int, to_rate: int) -> bytes:
    """By soxr where it is installed; else by linear interpolation, which whistles a little."""
    if from_rate == to_rate or not pcm:
        return pcm
    if importlib.util.find_spec("soxr") is None:
        return audioop.ratecv(pcm, _WIDTH, 1, from_rate, to_rate, None)[0]
    import numpy
    import soxr

    resampled = soxr.resample(numpy.frombuffer(pcm, "<i2"), from_rate, to_rate)
    return bytes(resampled.astype("<i2").tobytes())


def loud_frames(pcm: bytes, rate: int) -> tuple[int, int]:
    """The first loud 20 ms frame, and the one after the last; (0, 0) if there is none."""
    size = rate * FRAME_MS // 1000 * _WIDTH
    loud = [
        n for n in range(math.ceil(len(pcm) / size)) if audioop.rms(pcm[n * size : (n + 1) * size], _WIDTH) >= LOUD_RMS
    ]
    return (loud[0], loud[-1] + 1) if loud else (0, 0)


def trim(pcm: bytes, rate: int) -> bytes:
    """Without the silence before and behind, in whole frames; empty if it is all silence."""
    size = rate * FRAME_MS // 1000 * _WIDTH
    start, end = loud_frames(pcm, rate)
    return pcm[start * size : end * size]
