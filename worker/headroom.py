"""How much memory this process may use, and does: by its own setting, its container's limit, or the whole machine.

Linux only; elsewhere nothing is known. A reading is three small files, a tenth of a millisecond in all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from worker.load import Memory

MB = 1024.0 * 1024.0
NO_LIMIT_MB = 1024.0 * 1024.0 * 1024.0  # the first version says "none" with a number beyond any machine


@dataclass(frozen=True, slots=True)
class ControlGroups:
    """Where one version of Linux' control groups says what a container may use."""

    name: str  # in /proc/self/cgroup
    top: str
    limit: str
    used: str
    cached: str  # of memory.stat: files that are kept only because there is room


VERSIONS = (
    ControlGroups("", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ControlGroups(
        "memory", "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    ),
)


def memory_reader(limit_mb: float, root: Path = Path("/")) -> Callable[[], Memory | None]:
    """What reads the memory that counts. With a limit (MB) of our own it is this process' against that."""
    if limit_mb:
        return partial(_of_process, limit_mb, root)
    for groups in VERSIONS:
        for folder in _folders(groups, root):
            if _of_container(groups, folder) is not None:
                return partial(_of_container, groups, folder)
    return partial(_of_machine, root)


def _folders(groups: ControlGroups, root: Path) -> Iterator[Path]:
    """Our group's, at its own path or, as a container sees it, at the top."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if names == groups.name:
            yield root / groups.top / path.lstrip("/")
    yield root / groups.top


def _of_container(groups: ControlGroups, folder: Path) -> Memory | None:
    limit_mb = _number(_text(folder / groups.limit)) / MB
    if not 0 < limit_mb < NO_LIMIT_MB:
        return None
    cached = _field(_text(folder / "memory.stat"), groups.cached)
    return Memory(limit_mb, (_number(_text(folder / groups.used)) - cached) / MB)


def _of_process(limit_mb: float, root: Path) -> Memory | None:
    resident_kb = _field(_text(root / "proc/self/status"), "VmRSS:")
    return Memory(limit_mb, resident_kb / 1024) if resident_kb else None


def _of_machine(root: Path) -> Memory | None:
    told = _text(root / "proc/meminfo")
    total_kb, free_kb = _field(told, "MemTotal:"), _field(told, "MemAvailable:")
    return Memory(total_kb / 1024, (total_kb - free_kb) / 1024) if total_kb else None


def _field(text: str, name: str) -> float:
    """The number behind a name that begins a line; 0 when there is none."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name:
            return _number(words[1])
    return 0.0


def _number(text: str) -> float:
    return float(text) if text.strip().isdecimal() else 0.0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
