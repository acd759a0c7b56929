"""What a caller of the benchmark says and when: recorded speech over line noise, frames of 20 ms. Pure but for files.

After the greeting the same round again and again, 11 to 12 s: a question, a pause in which the bot begins to answer,
a second question into that answer, and a pause that lets the bot finish. Pauses differ a little by call and round, or
all calls that began a whole number of rounds apart would speak at the same moment.
"""

import audioop
import base64
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from shared.carrier.audio import read_wav

FRAME_S = 0.02
FRAME_BYTES = 320  # of 16-bit PCM at 8 kHz
GREETING_PAUSE_S = 3.6
ANSWER_PAUSE_S = 3.2
LAST_PAUSE_S = 5.4
JITTER_S = 0.6
NOISE_RMS = 40.0  # -58 dBFS: a telephone line is never digitally silent
NOISE_FRAMES = 50
SPEECH = Path(__file__).with_name("speech")


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as base64 of A-law, and where in an utterance it stands."""

    payload: bytes
    is_first: bool = False  # of an utterance; each begins and ends with a loud frame
    is_last: bool = False


def frames_of_call(seed: int) -> Iterator[Frame]:
    """Everything that one caller sends, for ever. The same seed says the same."""
    rng = random.Random(seed)
    spoken = utterances()
    yield from pause(GREETING_PAUSE_S + rng.uniform(0, 2 * JITTER_S))
    while True:
        yield from rng.choice(spoken)
        yield from pause(ANSWER_PAUSE_S)
        yield from rng.choice(spoken)
        yield from pause(LAST_PAUSE_S + rng.uniform(0, JITTER_S))


def pause(seconds: float) -> Iterator[Frame]:
    """Line noise."""
    quiet = quiet_frames()
    for number in range(round(seconds / FRAME_S)):
        yield quiet[number % NOISE_FRAMES]


@cache
def quiet_frames() -> tuple[Frame, ...]:
    return tuple(_frame(_noise(number)) for number in range(NOISE_FRAMES))


@cache
def utterances() -> tuple[tuple[Frame, ...], ...]:
    """The recordings, in the order of their names."""
    return tuple(_utterance(read_wav(path)) for path in sorted(SPEECH.glob("*.wav")))


def _utterance(pcm: bytes) -> tuple[Frame, ...]:
    pieces = [pcm[at : at + FRAME_BYTES] for at in range(0, len(pcm) - FRAME_BYTES + 1, FRAME_BYTES)]
    last = len(pieces) - 1
    mixed = (audioop.add(piece, _noise(number), 2) for number, piece in enumerate(pieces))
    return tuple(_frame(piece, n == 0, n == last) for n, piece in enumerate(mixed))


def _frame(pcm: bytes, is_first: bool = False, is_last: bool = False) -> Frame:
    return Frame(base64.b64encode(audioop.lin2alaw(pcm, 2)), is_first, is_last)


@cache
def _noise(number: int) -> bytes:
    rng = random.Random(number % NOISE_FRAMES)
    samples = (round(rng.gauss(0, NOISE_RMS)) for _ in range(FRAME_BYTES // 2))
    return b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)
