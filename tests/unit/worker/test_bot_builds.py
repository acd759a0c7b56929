"""Whether a bot's code is another one than before: a quarantine ends with a deploy of the bot."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker import bot_builds
from worker.bot_builds import build_of

Write = Callable[[str, str], None]
Build = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """The build of a module, as a process has it that has just been started."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget() -> None:
        ours = {path.stem for path in tmp_path.iterdir()}
        for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def build(module: str) -> str:
        forget()
        importlib.import_module(module)
        return build_of(module)

    yield build
    forget()


@pytest.mark.parametrize(
    ("files", "bot"),
    [
        ({"lone_bot.py": "import helper_of_bot", "helper_of_bot.py": "A = 1"}, "lone_bot"),
        (
            {"my_pack/bot.py": "from . import tools", "my_pack/tools.py": "A = 1", "my_pack/__init__.py": ""},
            "my_pack.bot",
        ),
        ({"my_pack/bot.py": "from my_pack.sub.tools import A", "my_pack/sub/tools.py": "A = 1"}, "my_pack.bot"),
        ({"my_pack/a/bot.py": "from ..b import tools", "my_pack/b/tools.py": "A = 1"}, "my_pack.a.bot"),
        ({"my_pack/__init__.py": "from .tools import A", "my_pack/tools.py": "A = 1"}, "my_pack"),
        ({"lone_bot.py": "def f():\n    import late_tools", "late_tools.py": "A = 1"}, "lone_bot"),
        ({"lone_bot.py": "import one", "one.py": "import two", "two.py": "import one\nA = 1"}, "lone_bot"),
        ({"my_pack/bot.py": "", "my_pack/__init__.py": "A = 1"}, "my_pack.bot"),
    ],
)
def test_a_change_of_what_the_bot_imports_of_its_own_is_another_build(
    files: dict[str, str], bot: str, write: Write, build: Build
) -> None:
    for name, text in files.items():
        write(name, text)
    before = build(bot)
    assert build(bot) == before
    changed = next(name for name, text in files.items() if "A = 1" in text)
    write(changed, files[changed] + "\nB = 2")
    assert build(bot) != before


def test_a_change_of_the_bots_own_file_is_another_build(write: Write, build: Build) -> None:
    write("lone_bot.py", "A = 1")
    before = build("lone_bot")
    write("lone_bot.py", "A = 2")
    assert build("lone_bot") != before


def test_what_the_bot_does_not_import_is_none_of_its_business(write: Write, build: Build) -> None:
    write("lone_bot.py", "import json, worker.prompts")
    write("other_bot.py", "A = 1")
    before = build("lone_bot")
    write("other_bot.py", "A = 2")
    assert build("lone_bot") == before


def test_two_workers_have_the_same_build_whatever_else_was_loaded(write: Write, build: Build) -> None:
    write("pair/one.py", "from pair import common")
    write("pair/two.py", "from pair import common, extra")
    write("pair/common.py", "")
    write("pair/extra.py", "")
    alone = build("pair.one")
    build("pair.two")
    importlib.import_module("pair.one")
    assert build_of("pair.one") == alone


def test_another_version_of_ours_is_another_build(write: Write, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    write("lone_bot.py", "")
    before = build("lone_bot")
    monkeypatch.setattr(bot_builds, "VERSION", "9.9.9")
    assert build_of("lone_bot") != before


def test_a_bot_of_ours_is_its_own_file_and_our_version() -> None:
    import worker.bots.receptionist  # noqa: F401

    assert bot_builds._own_modules("worker.bots.receptionist").keys() == {"worker.bots.receptionist"}


def test_a_source_that_cannot_be_parsed_or_read_still_has_a_build(write: Write, build: Build, tmp_path: Path) -> None:
    write("lone_bot.py", "A = 1")
    build("lone_bot")
    write("lone_bot.py", "this is no Python (")
    broken = build_of("lone_bot")
    (tmp_path / "lone_bot.py").unlink()
    assert build_of("lone_bot") != broken
    assert build_of("never_imported") == build_of("never_imported_either")
