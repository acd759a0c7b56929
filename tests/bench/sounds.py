"""What a telephone brings, made the same way each time: 8 kHz, 16 bit, through A-law; speech, and what is none."""

import audioop
import wave
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from shared.recordings import APOLOGY

RATE = 8000

Samples = npt.NDArray[np.float64]


def on_the_line(samples: Samples) -> bytes:
    """Samples as they come out of the trunk."""
    pcm = np.clip(samples, -32768, 32767).astype("<i2").tobytes()
    return audioop.alaw2lin(audioop.lin2alaw(pcm, 2), 2)


def speech() -> bytes:
    """A spoken sentence or two, as recorded."""
    with wave.open(str(APOLOGY)) as reader:
        assert reader.getframerate() == RATE
        return reader.readframes(reader.getnframes())


def noise(seconds: float, rms: float, seed: int = 0) -> bytes:
    """White noise."""
    return on_the_line(_white(seconds, seed) * rms)


def conversation(seed: int, seconds: float = 12.0, noise_rms: float = 8.0, gain: float = 1.0) -> bytes:
    """Speech with pauses, over a line's noise; which part of the sentence, and when, is a matter of the seed."""
    random = np.random.default_rng(seed)
    spoken = np.frombuffer(speech(), "<i2").astype(np.float64) * gain
    line = _white(seconds, seed + 1000) * noise_rms
    at = int(RATE * random.uniform(0.5, 1.5))
    while at < len(line):
        begin = int(random.integers(0, len(spoken) // 2))
        piece = spoken[begin : begin + int(RATE * random.uniform(0.6, 2.0))][: len(line) - at]
        line[at : at + len(piece)] += piece
        at += len(piece) + int(RATE * random.uniform(0.7, 2.5))
    return on_the_line(line)


# -- what is no speech


def hum(seconds: float) -> bytes:
    """A mains hum with its harmonics."""
    time = _time(seconds)
    tones = sum(np.sin(2 * np.pi * 50 * k * time + k) / k for k in range(1, 12))
    return on_the_line(900 * np.asarray(tones) + 15 * _white(seconds, 1))


def keyboard(seconds: float) -> bytes:
    """Typing: bursts of a few milliseconds, several a second."""
    random = np.random.default_rng(2)
    line = 12 * _white(seconds, 3)
    for at in np.cumsum(random.uniform(0.06, 0.35, int(seconds * 6))):
        begin = int(at * RATE)
        for offset, level in ((0, 4000), (int(0.04 * RATE), 1800)):  # down, and up again
            length = int(random.uniform(0.003, 0.012) * RATE)
            click = random.standard_normal(length) * np.exp(-np.arange(length) / (0.25 * length)) * level
            end = begin + offset + length
            if end < len(line):
                line[begin + offset : end] += click
    return on_the_line(line)


def breathing(seconds: float) -> bytes:
    """Breath against a microphone: shaped noise, in and out."""
    time = _time(seconds)
    envelope = (
        np.maximum(0, np.sin(2 * np.pi * 0.35 * time)) ** 2
        + 0.6 * np.maximum(0, np.sin(2 * np.pi * 0.35 * time - 2.2)) ** 2
    )
    return on_the_line(900 * envelope * _band(_white(seconds, 4), 300, 2200) + 12 * _white(seconds, 5))


def street(seconds: float) -> bytes:
    """Traffic: low noise that swells and falls."""
    time = _time(seconds)
    swell = 1 + 0.7 * np.sin(2 * np.pi * 0.13 * time) + 0.4 * np.sin(2 * np.pi * 0.31 * time + 1)
    return on_the_line(700 * swell * _band(_white(seconds, 6), 80, 900))


def knocks(seconds: float) -> bytes:
    """A receiver that is handled: dull knocks."""
    random = np.random.default_rng(8)
    line = 10 * _white(seconds, 9)
    for at in np.cumsum(random.uniform(0.2, 0.9, int(seconds * 2))):
        begin, length = int(at * RATE), int(0.06 * RATE)
        tone = np.sin(2 * np.pi * random.uniform(90, 260) * np.arange(length) / RATE)
        if begin + length < len(line):
            line[begin : begin + length] += 9000 * tone * np.exp(-np.arange(length) / (0.2 * length))
    return on_the_line(line)


DISTURBANCES: dict[str, Callable[[float], bytes]] = {
    "noise": lambda seconds: noise(seconds, 400),
    "faint noise": lambda seconds: noise(seconds, 60),
    "hum": hum,
    "keyboard": keyboard,
    "breathing": breathing,
    "street": street,
    "knocks": knocks,
    "silence": lambda seconds: noise(seconds, 0),
}


def _time(seconds: float) -> Samples:
    return np.arange(int(RATE * seconds)) / RATE


def _white(seconds: float, seed: int) -> Samples:
    return np.random.default_rng(seed).standard_normal(int(RATE * seconds))


def _band(samples: Samples, low: float, high: float) -> Samples:
    """Only what lies between these frequencies, at the same power."""
    spectrum = np.fft.rfft(samples)
    frequency = np.fft.rfftfreq(len(samples), 1 / RATE)
    spectrum[(frequency < low) | (frequency > high)] = 0
    found = np.fft.irfft(spectrum, len(samples))
    return np.asarray(found / np.std(found))
