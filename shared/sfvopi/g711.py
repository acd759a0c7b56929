"""G.711 as the wire has it ↔ 16-bit little-endian PCM at the same sample rate.

The tables are audioop's: the standard library's below Python 3.13, audioop-lts from there. Little-endian
machines only, as are all that we run on.
"""

import audioop

from shared.sfvopi.formats import AudioFormat, Codec

_PCM_WIDTH = 2


def decode(payload: bytes, format: AudioFormat) -> bytes:
    """Wire audio → 16-bit PCM."""
    match format.codec:
        case Codec.PCMA:
            return audioop.alaw2lin(payload, _PCM_WIDTH)
        case Codec.PCMU:
            return audioop.ulaw2lin(payload, _PCM_WIDTH)
        case Codec.L16:
            return payload


def encode(pcm: bytes, format: AudioFormat) -> bytes:
    """16-bit PCM, whole samples (ValueError if not) → wire audio."""
    if len(pcm) % _PCM_WIDTH:
        raise ValueError(f"{len(pcm)} bytes are not whole 16-bit samples")
    match format.codec:
        case Codec.PCMA:
            return audioop.lin2alaw(pcm, _PCM_WIDTH)
        case Codec.PCMU:
            return audioop.lin2ulaw(pcm, _PCM_WIDTH)
        case Codec.L16:
            return pcm
