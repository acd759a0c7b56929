"""Model files are put together once, checked before they are loaded, and refused when they were changed."""

import asyncio
from pathlib import Path

import pytest

from shared.settings import SettingsError
from worker.pipeline.offline import models

PARTS = {"one": {"model.bin.part1": b"first "}, "two": {"model.bin.part2": b"second", "config.json": b"{}"}}


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two small wheels in place of the real ones, and a cache folder."""
    for package, files in PARTS.items():
        data = tmp_path / "site" / f"model_{package}" / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").touch()
        for name, content in files.items():
            (data / name).write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(models, "WHISPER_PARTS", (("model_one", "model.bin.part1"), ("model_two", "model.bin.part2")))
    digests = {"model.bin": b"first second", "config.json": b"{}"}
    for name, content in digests.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(models, "WHISPER_FILES", {name: models._sha256(tmp_path / name) for name in digests})
    cache = tmp_path / "cache"
    cache.mkdir()
    return cache


def test_the_two_parts_become_one_model(wheels: Path) -> None:
    folder = models.whisper_folder(wheels)
    assert (folder / "model.bin").read_bytes() == b"first second"
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.bin"]
    assert list(wheels.iterdir()) == [folder], "nothing half-built is left"


def test_it_is_put_together_once(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = models.whisper_folder(wheels)
    monkeypatch.setattr(models, "WHISPER_PARTS", (("no_such_package", "x"),))
    assert models.whisper_folder(wheels) == folder


async def test_many_workers_may_put_it_together_at_once(wheels: Path) -> None:
    folders = await asyncio.gather(*(asyncio.to_thread(models.whisper_folder, wheels) for _ in range(8)))
    assert len(set(folders)) == 1
    assert list(wheels.iterdir()) == [folders[0]]


def test_a_changed_file_is_refused(wheels: Path) -> None:
    folder = models.whisper_folder(wheels)
    (folder / "model.bin").write_bytes(b"first evil")
    with pytest.raises(SettingsError, match=r"model\.bin: SHA-256 is \w+, not \w+; remove it"):
        models.whisper_folder(wheels)


def test_a_missing_wheel_is_an_import_error(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "WHISPER_PARTS", (("no_such_package", "x"),))
    with pytest.raises(ImportError, match="no_such_package"):
        models.whisper_folder(wheels)


def test_a_home_that_cannot_be_written_is_not_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(models.tempfile, "gettempdir", lambda: str(tmp_path))
    assert models.cache_folder() == tmp_path / "sfvopi-cache"
