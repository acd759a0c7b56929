"""What a caller hears when there is no bot to say anything: WAV files, brought to the rate of a stream."""

import audioop
import wave
from pathlib import Path


class Prompt:
    """One recording: 16-bit mono, any rate. Read once, when it is made. Raises `ValueError` for anything else."""

    def __init__(self, path: Path) -> None:
        try:
            with wave.open(str(path)) as recording:
                if (recording.getnchannels(), recording.getsampwidth()) != (1, 2):
                    raise ValueError(f"{path} must be 16-bit mono")
                self._rate: int = recording.getframerate()
                self._pcm: bytes = recording.readframes(recording.getnframes())
        except (OSError, EOFError, wave.Error) as error:
            raise ValueError(f"{path} is not a WAV file that can be read: {error}") from None

    @property
    def duration_s(self) -> float:
        return len(self._pcm) / 2 / self._rate

    def pcm(self, rate: int) -> bytes:
        """The recording at this rate."""
        if rate == self._rate:
            return self._pcm
        pcm: bytes = audioop.ratecv(self._pcm, 2, 1, self._rate, rate, None)[0]
        return pcm
