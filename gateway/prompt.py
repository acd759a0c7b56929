"""A message, or music, as the frames that a carrier plays: encoded once per process and format, sent as they are."""

import audioop
import wave
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import IO

from gateway import hold_music
from shared.recordings import APOLOGY
from shared.settings import SettingsError
from shared.sfvopi.formats import FRAME_MS, AudioFormat
from shared.sfvopi.g711 import encode
from shared.sfvopi.messages import PlayAudio
from shared.sfvopi.render import render_command

MAX_PROMPT_S = 60.0
PCM_WIDTH = 2
FRAME_S = FRAME_MS / 1000
HOLD_FRAME_S = 2 * FRAME_S  # as long as a carrier is known to take: half as many to send


class Prompt:
    """A message, from mono 16-bit PCM at any rate, in pieces of `frame_s`, a multiple of 20 ms."""

    def __init__(self, pcm: bytes, sample_rate: int, frame_s: float = FRAME_S) -> None:
        self._pcm = pcm
        self._sample_rate = sample_rate
        self.frame_s = frame_s
        self.frames = cache(self._render)
        """`frames(format)`: the message as `playAudio` texts of `frame_s` each, in that format."""

    @property
    def duration_s(self) -> float:
        return len(self._pcm) / PCM_WIDTH / self._sample_rate

    def _render(self, format: AudioFormat) -> tuple[str, ...]:
        pcm = self._pcm
        if format.sample_rate != self._sample_rate:
            pcm, _ = audioop.ratecv(pcm, PCM_WIDTH, 1, self._sample_rate, format.sample_rate, None)
        audio = encode(pcm, format)
        size = format.frame_bytes * round(self.frame_s / FRAME_S)
        audio += format.silence * (-len(audio) % size // format.sample_width)
        payloads = (audio[at : at + size] for at in range(0, len(audio), size))
        return tuple(render_command(PlayAudio(payload, format)) for payload in payloads)


def read_busy_prompt(path: Path | None) -> Prompt:
    """The busy message: of `SFVOPI_BUSY_WAV`, or our own. Raises `SettingsError`."""
    if path is None:
        with files("gateway").joinpath("prompts/busy.wav").open("rb") as ours:
            return Prompt(*_read(ours))
    return Prompt(*_read_given("SFVOPI_BUSY_WAV", path))


def read_apology_prompt(path: Path | None) -> Prompt:
    """For a call that is over by our fault: of `SFVOPI_APOLOGY_WAV`, or our own. Raises `SettingsError`."""
    return Prompt(*_read_given("SFVOPI_APOLOGY_WAV", path or APOLOGY))


def read_hold_prompt(path: Path | None) -> Prompt:
    """What a caller hears who waits in line: of `SFVOPI_HOLD_WAV`, or our own music. Raises `SettingsError`."""
    pcm, rate = (hold_music.compose(), hold_music.RATE) if path is None else _read_given("SFVOPI_HOLD_WAV", path)
    return Prompt(pcm, rate, HOLD_FRAME_S)


def _read_given(setting: str, path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as theirs:
            return _read(theirs)
    except OSError as error:
        raise SettingsError(f"{setting}: cannot read {path}: {error.strerror}") from None
    except (wave.Error, EOFError, ValueError) as error:
        raise SettingsError(f"{setting}: {path}: {error}; a mono 16-bit PCM WAV is needed") from None


def _read(file: IO[bytes]) -> tuple[bytes, int]:
    with wave.open(file) as wav:
        if (wav.getnchannels(), wav.getsampwidth()) != (1, PCM_WIDTH):
            raise ValueError(f"{wav.getnchannels()} channels of {8 * wav.getsampwidth()} bits")
        if not 0 < wav.getnframes() <= MAX_PROMPT_S * wav.getframerate():
            raise ValueError(f"it must last more than 0 and at most {MAX_PROMPT_S:g} s")
        return wav.readframes(wav.getnframes()), wav.getframerate()
