"""The music that a caller hears who waits in line, if no other is given: soft bells over four chords, made here.

Pure. It has no seam: what still sounds at its end sounds at its beginning.
"""

import math
from array import array
from functools import cache

RATE = 8000
NOTE_S = 0.4
NOTE_SOUNDS_S = 2.4
LOUDNESS = 0.07  # of full scale, each bell at its loudest: about four sound at once
FADE_PER_S = 0.13  # what is left of a bell after a second

# a bell each: two bars up and down each chord, in MIDI notes
CHORDS = (
    (60, 64, 67, 71, 72, 71, 67, 64),  # C
    (57, 60, 64, 67, 72, 67, 64, 60),  # A minor
    (53, 57, 60, 64, 69, 64, 60, 57),  # F
    (55, 59, 62, 67, 71, 67, 62, 59),  # G
)


@cache
def compose() -> bytes:
    """Mono 16-bit PCM at `RATE`, 12.8 s."""
    notes = [note for chord in CHORDS for note in chord]
    step = round(NOTE_S * RATE)
    mix = [0.0] * (step * len(notes))
    for number, note in enumerate(notes):
        begin = number * step
        for at, sample in enumerate(_bell(440 * 2 ** ((note - 69) / 12)), begin):
            mix[at % len(mix)] += sample
    return array("h", [round(32767 * sample) for sample in mix]).tobytes()


def _bell(hz: float) -> list[float]:
    """A sine that fades, as a resonator rings: each sample from the two before it."""
    count = round(NOTE_SOUNDS_S * RATE)
    fade = FADE_PER_S ** (1 / RATE)
    turn = 2 * math.pi * hz / RATE
    feedback, loss = 2 * fade * math.cos(turn), fade * fade
    before, now = 0.0, LOUDNESS * math.sin(turn)
    samples = []
    for _ in range(count):
        samples.append(before)
        before, now = now, feedback * now - loss * before
    return samples
