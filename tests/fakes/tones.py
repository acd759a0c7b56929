"""Speech and voices that carry a number, so that a test can tell by the audio who heard whom.

A caller's speech is a buzz with moving formants (pure tones are no speech to Silero, this is) below 2.3 kHz, and a
faint pilot tone above 2.5 kHz that says which caller it is. A second pilot may say what the caller wants. The bot's
voice is a plain tone whose pitch says which caller is answered. No band overlaps another, so an echo is no speech.
"""

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]

RATE = 8000
CALLERS = 48
NOBODY = -1  # a voice that answers no caller in particular: the greeting
STRANGER = -2  # that of a bot which is asked who calls, and has never heard it
STORY = -3  # that of the bedtime story
BUSY = -4  # no bot's: a prompt of the gateway's own, made with `tone_of`
HOLD = -5  # likewise
APOLOGY = -6  # likewise, or a worker's
INTENTS = {"": 0.0, "who": 3710.0, "long": 3780.0, "bedtime": 3820.0, "goodbye": 3860.0, "recall": 3930.0}
_WISHES = {"": "", "long": " tell me a long story", "goodbye": " goodbye", "recall": " what did I say first"}
_OWN_WORDS = {"who": "which caller am I", "bedtime": "tell me a bedtime story"}  # these do not say who calls
_SPECIAL_HZ = {NOBODY: 340.0, STRANGER: 300.0, STORY: 260.0, BUSY: 220.0, HOLD: 180.0, APOLOGY: 140.0}
_SPECIAL_WORDS = {"do not know": STRANGER, "once upon a time": STORY}
_VOWELS = ((570, 840, 2410), (270, 2290, 3010), (730, 1090, 2440), (530, 1840, 2480), (300, 870, 2240))
_PILOT_LEVEL = 0.012
_VOICE_LEVEL = 0.4
SECONDS_PER_WORD = 0.3


def pilot_hz(caller: int) -> float:
    """The tone in the speech of a caller, 0 to 47."""
    return 2500.0 + 25 * caller


def voice_hz(caller: int) -> float:
    """The tone in which a caller is answered."""
    return _SPECIAL_HZ.get(caller) or 400.0 + 40 * caller


def phrase(caller: int, intent: str = "") -> str:
    """What a caller says, as the fake recognition writes it."""
    return _OWN_WORDS.get(intent) or f"this is caller {caller}{_WISHES[intent]}"


def caller_speech(caller: int, intent: str = "", seconds: float = 1.2) -> bytes:
    """A caller's speech: 16-bit PCM at 8 kHz."""
    time = np.arange(int(RATE * seconds)) / RATE
    wave = _babble(seconds) + _PILOT_LEVEL * np.sin(2 * np.pi * pilot_hz(caller) * time)
    if intent:
        wave += _PILOT_LEVEL * np.sin(2 * np.pi * INTENTS[intent] * time)
    return _pcm(wave)


def recognise(pcm: bytes, rate: int) -> str:
    """What was said, or "" when nobody known spoke."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float64) / 32768
    if len(samples) < rate // 5:
        return ""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    pilots = [_level(spectrum, pilot_hz(caller), rate, len(samples)) for caller in range(CALLERS)]
    caller = int(np.argmax(pilots))
    others = sorted(pilots)[-8:-3]
    if pilots[caller] < 5 * float(np.mean(others)) or pilots[caller] * 4 / len(samples) < _PILOT_LEVEL / 10:
        return ""
    wishes = {name: _level(spectrum, hz, rate, len(samples)) for name, hz in INTENTS.items() if name}
    intent = max(wishes, key=lambda name: wishes[name])
    return phrase(caller, intent if wishes[intent] > pilots[caller] / 3 else "")


def voice(text: str, rate: int, seconds_per_word: float = SECONDS_PER_WORD) -> bytes:
    """The text as the fake voice says it: a tone as long as the text, at the pitch of the caller it names.

    A story is told at the pace of speech, however hurried the voice is otherwise.
    """
    named = re.search(r"caller (\d+)", text)
    special = next((whose for words, whose in _SPECIAL_WORDS.items() if words in text.lower()), NOBODY)
    pace_s = max(seconds_per_word, SECONDS_PER_WORD) if special == STORY else seconds_per_word
    return tone_of(int(named[1]) if named else special, rate, pace_s * max(1, len(text.split())))


def tone_of(caller: int, rate: int, seconds: float) -> bytes:
    """So long a sound of the voice that answers this caller."""
    hz = voice_hz(caller)
    time = np.arange(int(rate * seconds)) / rate
    fade = np.minimum(1, np.minimum(time, seconds - time) / 0.01)
    return _pcm(_VOICE_LEVEL * fade * np.sin(2 * np.pi * hz * time))


def heard_voices(pcm: bytes, rate: int = RATE, *, is_steady: bool = False) -> dict[int, float]:
    """Seconds of each voice in a recording: by caller, `NOBODY` for the greeting. A mixture counts for both.

    A tone that is cut off within a window of 0.1 s sounds like its neighbours, too: `is_steady` leaves those out.
    """
    samples = np.frombuffer(pcm, "<i2").astype(np.float64) / 32768
    size = rate // 10
    voices = [*_SPECIAL_HZ, *range(CALLERS)]
    heard: dict[int, float] = {}
    for start in range(0, len(samples) - size + 1, size):
        window = samples[start : start + size]
        parts = window.reshape(5, -1) if is_steady else window.reshape(1, -1)
        if np.sqrt(np.mean(parts**2, axis=1)).min() < 0.02 * (1 + 4 * is_steady):
            continue
        spectrum = np.abs(np.fft.rfft(window * np.hanning(size)))
        levels = [_level(spectrum, voice_hz(caller), rate, size) for caller in voices]
        for caller, level in zip(voices, levels, strict=True):
            if level > 0.3 * max(levels) and level > 0.3 * spectrum.max():
                heard[caller] = round(heard.get(caller, 0) + 0.1, 1)
    return heard


@cache
def _babble(seconds: float) -> Samples:
    count = int(RATE * seconds)
    time = np.arange(count) / RATE
    pitch = 120 * (1 + 0.15 * np.sin(2 * np.pi * 1.1 * time) - 0.1 * time / seconds)
    phase = np.floor(np.cumsum(pitch) / RATE)
    pulses = np.diff(phase, prepend=0.0)
    syllable = RATE // 5
    wave = np.zeros(count)
    for number, start in enumerate(range(0, count, syllable)):
        sound = pulses[start : start + syllable]
        for hz, width in zip(_VOWELS[number % len(_VOWELS)], (80, 100, 140), strict=True):
            sound = _resonate(sound, hz, width)
        swell = np.sqrt(np.sin(np.pi * np.arange(len(sound)) / len(sound)))
        wave[start : start + syllable] = sound / (np.abs(sound).max() or 1) * swell
    spectrum = np.fft.rfft(wave)
    spectrum[int(2300 * seconds) :] = 0
    low: Samples = np.fft.irfft(spectrum, count)
    return 0.6 * low


def _resonate(wave: Samples, hz: float, width: float) -> Samples:
    radius = np.exp(-np.pi * width / RATE)
    a1, a2 = 2 * radius * np.cos(2 * np.pi * hz / RATE), -radius * radius
    out = np.zeros_like(wave)
    y1 = y2 = 0.0
    for i, x in enumerate(wave):
        y1, y2 = x + a1 * y1 + a2 * y2, y1
        out[i] = y1
    return out


def _level(spectrum: Samples, hz: float, rate: int, size: int) -> float:
    center = round(hz * size / rate)
    return float(spectrum[max(0, center - 1) : center + 2].max())


def _pcm(wave: Samples) -> bytes:
    return (np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes()
