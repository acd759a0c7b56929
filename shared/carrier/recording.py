"""What the caller said, frame by frame, so that a call can be heard afterwards."""

import base64

from shared.carrier.pace import FRAME_S
from shared.sfvopi.formats import AudioFormat
from shared.sfvopi.g711 import decode


class SaidFrames:
    """The caller's frames that were not silent, by number."""

    def __init__(self, format: AudioFormat) -> None:
        self._format = format
        self._frames: list[tuple[int, str]] = []

    def add(self, n: int, payload: str) -> None:
        self._frames.append((n, payload))

    def pcm(self) -> bytes:
        """All that was said, from `start` on, as it went over the wire."""
        size = round(self._format.sample_rate * FRAME_S) * 2
        said = bytearray()
        for n, payload in self._frames:
            said += bytes(n * size - len(said))
            said += decode(base64.b64decode(payload), self._format)
        return bytes(said)
