"""The audio formats that SFVoPI knows, as one value.

An `AudioFormat` is made once, from the settings, when a call is answered. The same value renders the Stream
JSON and every `playAudio` after it, so the two cannot disagree (the protocol's round-trip rule).
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.sfvopi.errors import UnsupportedFormat


class Codec(StrEnum):
    """Codec names as the Stream JSON spells them."""

    PCMA = "PCMA"  # G.711 A-law: what the trunk carries, passed straight through
    PCMU = "PCMU"  # G.711 µ-law: the carrier converts every frame
    L16 = "L16"  # signed 16-bit little-endian PCM


SAMPLE_RATES: dict[Codec, tuple[int, ...]] = {
    Codec.PCMA: (8000,),
    Codec.PCMU: (8000,),
    Codec.L16: (8000, 16000, 24000, 32000, 44100, 48000),
}
CONTENT_TYPES: dict[Codec, str] = {
    Codec.PCMA: "audio/PCMA",
    Codec.PCMU: "audio/PCMU",
    Codec.L16: "audio/x-l16",
}
FRAME_MS = 20  # what the carrier sends, and the unit in which we think


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """A codec at a sample rate (Hz), mono. Raises `UnsupportedFormat` for what SFVoPI does not have."""

    codec: Codec = Codec.PCMA
    sample_rate: int = 8000

    def __post_init__(self) -> None:
        if self.sample_rate not in SAMPLE_RATES[self.codec]:
            allowed = ", ".join(str(rate) for rate in SAMPLE_RATES[self.codec])
            raise UnsupportedFormat(f"{self.codec} has no sample rate {self.sample_rate}; choose {allowed}")

    @property
    def content_type(self) -> str:
        """The `contentType` of media in this format."""
        return CONTENT_TYPES[self.codec]

    @property
    def sample_width(self) -> int:
        """Bytes per sample on the wire: 1 or 2."""
        return 2 if self.codec is Codec.L16 else 1

    @property
    def frame_bytes(self) -> int:
        """Bytes of one 20 ms frame on the wire."""
        return self.sample_rate * FRAME_MS // 1000 * self.sample_width

    def duration_ms(self, n_bytes: int) -> float:
        """How long `n_bytes` of this format play, in milliseconds."""
        return n_bytes * 1000 / (self.sample_rate * self.sample_width)

    @property
    def silence(self) -> bytes:
        """One sample of silence: 0xD5 in A-law, 0xFF in µ-law, two zero bytes in L16."""
        return {Codec.PCMA: b"\xd5", Codec.PCMU: b"\xff", Codec.L16: b"\x00\x00"}[self.codec]


PCMA_8K = AudioFormat()
