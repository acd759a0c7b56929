"""The keys (DTMF) that somebody hears in a sound: Goertzel's filter at the eight frequencies, window by window. Pure.

A key is one tone of each group, both about as loud, that hold nearly all of the sound for `SHORTEST` windows or more:
speech does not. The same key is heard again only behind a gap, which is how the telephone network reads it, too.
"""

import array
import audioop
import math
from dataclasses import dataclass
from itertools import product

LOW, HIGH = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
KEYS = dict(zip(product(LOW, HIGH), "123A456B789C*0#D", strict=True))
WINDOW_S = 0.025
SHORTEST = 2  # windows
SHARE = 0.7  # of the sound's power, that of the two tones
TWIST = 6.3  # 8 dB: how much stronger one of them may be
LOUD_RMS = 100
FEWEST_CROSSINGS = round(1.8 * LOW[0] * WINDOW_S)  # of zero: a deeper sound is none, which is seen quickly
_WIDTH = 2


@dataclass(frozen=True, slots=True)
class HeardKey:
    """One key, in seconds after the sound's begin."""

    key: str
    from_s: float
    to_s: float


def heard_keys(pcm: bytes, rate: int) -> list[HeardKey]:
    """The keys in 16-bit PCM, one after the other."""
    size = round(rate * WINDOW_S)
    turns = {hz: 2 * math.cos(2 * math.pi * hz / rate) for hz in LOW + HIGH}
    keys = [
        _key_in(pcm[at : at + size * _WIDTH], turns) for at in range(0, len(pcm) - size * _WIDTH + 1, size * _WIDTH)
    ]
    found: list[HeardKey] = []
    begin = 0
    for end in range(1, len(keys) + 1):
        if end < len(keys) and keys[end] == keys[begin]:
            continue
        if keys[begin] and end - begin >= SHORTEST:
            found.append(HeardKey(keys[begin], begin * size / rate, end * size / rate))
        begin = end
    return found


def _key_in(window: bytes, turns: dict[int, float]) -> str:
    """The key whose tones this window is made of, or none."""
    rms = audioop.rms(window, _WIDTH)
    if rms < LOUD_RMS or audioop.cross(window, _WIDTH) < FEWEST_CROSSINGS:
        return ""
    samples = array.array("h", window)
    power = {hz: _power(samples, turn) for hz, turn in turns.items()}
    low, high = max(LOW, key=power.__getitem__), max(HIGH, key=power.__getitem__)
    weaker, stronger = sorted((power[low], power[high]))
    is_key = weaker + stronger >= SHARE * rms * rms and stronger <= TWIST * weaker
    return KEYS[low, high] if is_key else ""


def _power(samples: "array.array[int]", turn: float) -> float:
    """The power of one frequency in these samples, by Goertzel; that of a sine is half its peak squared."""
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + turn * last - before
    return 2 * (last * last + before * before - turn * last * before) / len(samples) ** 2
