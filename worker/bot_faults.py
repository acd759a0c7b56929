"""Why a bot cannot be imported or run, in a sentence that names the line to change."""

import ast
import importlib.metadata
import linecache
import re
import traceback
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pipecat

from worker.bot_builds import INSTALLED

_PIPECAT = Path(pipecat.__file__).parent
_PYTHON = Path(ast.__file__).parent
_OURS = Path(__file__).parent
_BESIDE = _OURS.parent / "shared"


def explain(error: BaseException) -> str:
    """What was raised; for an import of what is not installed, which line asked for it, and what to do."""
    missing = _missing(error)
    asked = _who_asked(error) if missing or isinstance(error, ImportError) else None
    if asked is None:
        line = own_line(error)
        return f"{line}: {_named(error)}" if line else _named(error)
    line, module, names = asked
    if missing is None or missing.startswith("pipecat."):
        return f"{line}: {_named(error)}{_moved(names)}"
    if module.startswith("pipecat.transports."):
        return (
            f"{line}: that transport is not installed ({missing!r} is missing), and a telephone call needs none of "
            "it: delete the line, and what uses its names"
        )
    extra = _extra(module)
    remedy = f"pip install 'pipecat-ai[{extra}]'" if extra else "install it, or delete the line"
    return f"{line}: {missing!r} is not installed: {remedy}"


def own_line(error: BaseException) -> str:
    """The last line of a bot's own that led to it, as `file:line`; empty when no such line did."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame.filename)]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def is_own(file: str) -> bool:
    """Whether a file may be a bot's: neither installed, nor Python's, nor ours."""
    path = Path(file)
    is_ours = path.is_relative_to(_OURS) and not path.is_relative_to(_OURS / "bots")
    is_pythons = path.is_relative_to(_PYTHON) or INSTALLED & set(path.parts)
    return path.is_file() and not (is_ours or is_pythons or path.is_relative_to(_BESIDE))


def _named(error: BaseException) -> str:
    said = str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _missing(error: BaseException) -> str | None:
    """The module that is not installed, if that is the fault. Pipecat raises an error of its own from it."""
    for one in (error, error.__cause__, error.__context__):
        if isinstance(one, ModuleNotFoundError) and one.name:
            return one.name
    return None


def _who_asked(error: BaseException) -> tuple[str, str, list[str]] | None:
    """The import that led to it, as `file:line: text`, the module that it leads to, and the names it asks of it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    own = [frame for frame in _before_pipecat(frames) if frame.lineno]
    if not own:
        return None
    asks = own[-1]
    statement = _import_at(asks.filename, asks.lineno or 0)
    if statement is None:
        return None
    text, module, names = statement
    return f"{Path(asks.filename).name}:{asks.lineno}: `{text}`", module, names


def _before_pipecat(frames: Iterable[traceback.FrameSummary]) -> Iterable[traceback.FrameSummary]:
    for frame in frames:
        if Path(frame.filename).is_relative_to(_PIPECAT):
            return
        yield frame


def _import_at(file: str, line: int) -> tuple[str, str, list[str]] | None:
    """The import statement at this line, in one line, the module it names, and what it wants of that."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and node.lineno <= line <= (node.end_lineno or node.lineno):
            if isinstance(node, ast.Import):
                return ast.unparse(node), node.names[0].name, []
            return ast.unparse(node), node.module or "", [alias.name for alias in node.names]
    return None


def _moved(names: Iterable[str]) -> str:
    """Where these names are in the Pipecat that is installed, for what was written for another one."""
    today = [f"from {module} import {name}" for name in names for module in _homes(name)]
    if today:
        return f"; with Pipecat {importlib.metadata.version('pipecat-ai')} it is `{'`, `'.join(today)}`"
    return "; the table in docs/bots.md, Moving the guide's bot here, has what is called otherwise today"


def _homes(name: str) -> list[str]:
    """The modules of Pipecat's that define this class or function."""
    defines = re.compile(rf"^(?:class|def|async def) {re.escape(name)}\b", re.MULTILINE)
    files = [file for file in _PIPECAT.rglob("*.py") if defines.search(file.read_text(encoding="utf-8"))]
    return [".".join(file.relative_to(_PIPECAT.parent).with_suffix("").parts) for file in sorted(files)]


@cache
def _extras() -> frozenset[str]:
    return frozenset(importlib.metadata.metadata("pipecat-ai").get_all("Provides-Extra") or ())


def _extra(module: str) -> str:
    """The extra of Pipecat's that brings what this module of it needs; empty if its name does not tell."""
    parts = module.split(".")
    return next((part for part in reversed(parts) if parts[0] == "pipecat" and part in _extras()), "")
