"""What identifies the code of a bot: its module's source, that of its own modules which it imports, and our version.

Its own modules are those in its package, or, for a module in no package, beside it. Imports are read from the source,
and not from what is loaded: so a bot has the same build in every worker, whatever was imported there before it.
What lies elsewhere (Pipecat, other installed packages) belongs to no bot; our own packages count by our version.
"""

import ast
import hashlib
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

from shared.version import VERSION

LENGTH = 12  # hexadecimal digits: a fleet has a handful of builds
MOST_FILES = 500  # a bot with more of its own is identified by these
OURS = frozenset({"gateway", "shared", "worker"})
INSTALLED = frozenset({"site-packages", "dist-packages"})  # what lies beside a module there is not its own


def build_of(module_name: str) -> str:
    """The fingerprint of a module that is imported, with all of its own that it imports."""
    found = hashlib.sha256(VERSION.encode())
    for name, path in sorted(_own_modules(module_name).items()):
        found.update(f"\n{name} ".encode())
        found.update(_source(path))
    return found.hexdigest()[:LENGTH]


def _own_modules(module_name: str) -> dict[str, Path]:
    """Files by module name, the bot's own among them; empty if it has no file."""
    file = getattr(sys.modules.get(module_name), "__file__", None)
    if not file:
        return {}
    path = Path(file)
    top, in_package, _ = module_name.partition(".")
    if top in OURS:
        return {module_name: path}
    is_package = path.name == "__init__.py"
    root = path.parents[module_name.count(".") + is_package]
    has_neighbours = not (in_package or is_package or root.name in INSTALLED)
    found, waiting = {module_name: path}, [*_with_packages(module_name)]
    while waiting and len(found) < MOST_FILES:
        name = waiting.pop()
        head = name.partition(".")[0]
        if head != top and (head in OURS or not has_neighbours):
            continue
        if source := found.get(name) or _file_of(name, root):
            found[name] = source
            waiting += set(_imports(source, name)) - found.keys()
    return found


def _imports(path: Path, name: str) -> Iterator[str]:
    """Modules that a source file may mean by its imports: `from a import b` may be a.b. And the packages above."""
    try:
        tree = ast.parse(_source(path))
    except (SyntaxError, ValueError):
        return
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_packages(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            if base:
                yield from _with_packages(base)
                yield from (f"{base}.{alias.name}" for alias in node.names)
            elif node.level:  # `from . import x` beside a module in no package
                yield from (alias.name for alias in node.names)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    try:
        return resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
    except ImportError:
        return ""


def _with_packages(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:n]) for n in range(1, len(parts) + 1))


def _file_of(name: str, root: Path) -> Path | None:
    """The file of a module below this folder, if it is there."""
    stem = root.joinpath(*name.split("."))
    candidates = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _source(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
