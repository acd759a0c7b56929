"""Compares `shared.sfvopi.g711` with ITU-T G.711, on whichever interpreter runs this file; prints JSON.

The laws are written here from the standard alone: every code stands for an interval of amplitudes (13 bits in
A-law, 14 in µ-law) and for the value in its middle. Run with the repository's root in PYTHONPATH.
"""

import json
import struct
import sys

from shared.sfvopi.formats import AudioFormat, Codec
from shared.sfvopi.g711 import decode, encode

PCMA, PCMU = AudioFormat(Codec.PCMA), AudioFormat(Codec.PCMU)
SEGMENTS = [(segment, step) for segment in range(8) for step in range(16)]


def alaw_intervals():
    """(from, to, value) of the 128 amplitudes, in 16-bit units."""
    for segment, step in SEGMENTS:
        low = 2 * step if segment == 0 else (2 * step + 32) << (segment - 1)
        width = 2 if segment == 0 else 2 << (segment - 1)
        yield 8 * low, 8 * (low + width), 8 * (low + width // 2)


def mulaw_intervals():
    """The same of µ-law, whose lowest interval lies around zero."""
    for segment, step in SEGMENTS:
        low, high = ((2 * step + 32) << segment) - 33, ((2 * step + 34) << segment) - 33
        yield 4 * max(0, low), 4 * high, 4 * ((low + high) // 2)


def alaw_code(amplitude, negative):
    """Amplitude 0-127 and sign: the sign bit is set for positive values, then even bits are inverted."""
    return (amplitude | (0 if negative else 0x80)) ^ 0x55


def mulaw_code(amplitude, negative):
    """Amplitude 0-127 and sign: the sign bit is set for negative values, then all bits are inverted."""
    return (amplitude | (0x80 if negative else 0)) ^ 0xFF


def expected_alaw(sample):
    """A value on the edge belongs to the upper interval; negative values are one's complements."""
    magnitude = ~sample if sample < 0 else sample
    return alaw_code(next(n for n, (low, high, _) in enumerate(ALAW) if low <= magnitude < high), sample < 0)


def expected_mulaw(sample):
    """The input is 14 bits wide; beyond the last interval it is clipped."""
    magnitude = min(abs(sample >> 2) * 4, MULAW[-1][1] - 4)
    return mulaw_code(next(n for n, (low, high, _) in enumerate(MULAW) if low <= magnitude < high), sample < 0)


ALAW, MULAW = list(alaw_intervals()), list(mulaw_intervals())
LAWS = {
    "A-law": (PCMA, ALAW, alaw_code, expected_alaw),
    "µ-law": (PCMU, MULAW, mulaw_code, expected_mulaw),
}
# Published values: silence, smallest steps, ties of both signs, full scale.
KNOWN = {
    "A-law": {
        0: 0xD5,
        -1: 0x55,
        8: 0xD5,
        15: 0xD5,
        16: 0xD4,
        -16: 0x55,
        -17: 0x54,
        1000: 0xFA,
        32767: 0xAA,
        -32768: 0x2A,
    },
    "µ-law": {
        0: 0xFF,
        3: 0xFF,
        4: 0xFE,
        -1: 0x7E,
        12: 0xFD,
        1000: 0xCE,
        32124: 0x80,
        32767: 0x80,
        -32124: 0,
        -32768: 0,
    },
}


def check(name):
    format, intervals, code_of, expected = LAWS[name]
    wrong = []

    def compare(what, got, wanted):
        if got != wanted:
            wrong.append([what, got, wanted])

    for negative in (False, True):
        for amplitude, (_, _, value) in enumerate(intervals):
            code = code_of(amplitude, negative)
            (got,) = struct.unpack("<h", decode(bytes([code]), format))
            compare(f"decode {code:#04x}", got, -value if negative else value)
    samples = range(-32768, 32768)
    coded = encode(struct.pack("<65536h", *samples), format)
    for sample in samples:
        compare(f"encode {sample}", coded[sample + 32768], expected(sample))
    for sample, code in KNOWN[name].items():
        compare(f"known {sample}", coded[sample + 32768], code)
    return wrong[:10]


if __name__ == "__main__":
    import audioop

    result = {"python": sys.version.split()[0], "audioop": audioop.__file__ or "built in"}
    print(json.dumps(result | {"wrong": {name: check(name) for name in LAWS}}))
