"""What a parent can say of how its child died. The standard library only; where Linux does not tell, nothing is known.

Theory of operation. The exit status says how a process died, not who killed it. SIGKILL is ours, the kernel's for want
of memory, or somebody else's: we know our own kills, and the control group counts the kernel's. A signal that a fault
raises is the process' own making, unless the process said before it died that another one had sent it.
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.fleet.death import DeathCause

# what a process brings on itself; whatever else ends it was sent
OWN_MAKING = frozenset(
    getattr(signal, name)
    for name in (
        *("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGSYS", "SIGTRAP", "SIGPIPE"),
        *("SIGALRM", "SIGVTALRM", "SIGPROF", "SIGXCPU", "SIGXFSZ"),
    )
    if hasattr(signal, name)
)
RECENT_S = 10.0  # a process that the kernel kills for its memory is not gone at once


def cause_of(status: int, told: dict[str, Any], was_out_of_memory: bool) -> tuple[DeathCause, str]:
    """Why a child that we did not kill has died, and how, in a word; `status` is negative for a signal.

    `told` is what the child said of itself: `leaves`, `by_itself` or `sent_by` (a process id).
    """
    if status >= 0:
        is_in_order = status == 0 and bool(told.get("leaves"))
        return DeathCause.ENDED if is_in_order else DeathCause.CRASHED, f"exit status {status}"
    name = _name_of(-status)
    if told.get("leaves"):  # a library's own end may crash, when all calls are over
        return DeathCause.ENDED, name
    if "sent_by" in told:  # 0: by somebody outside its container
        return DeathCause.OUTSIDE, name
    if told.get("by_itself") or -status in OWN_MAKING:
        return DeathCause.CRASHED, name
    if -status == signal.SIGKILL and was_out_of_memory:
        return DeathCause.MEMORY, "killed by the kernel, out of memory"
    return DeathCause.OUTSIDE, name


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def is_stopped(pid: int, proc: Path = Path("/proc")) -> bool:
    """Whether somebody has stopped this process (SIGSTOP, a debugger)."""
    try:
        return (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, IndexError):
        return False


def waited_s(pid: int, proc: Path = Path("/proc")) -> float:
    """How long, in all, its first thread was ready to run and had no core; 0 where it is not known."""
    try:
        return int((proc / str(pid) / "schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def resident_mb(pid: int, proc: Path = Path("/proc")) -> float:
    """The memory of this process; 0 where it is not known."""
    try:
        pages = int((proc / str(pid) / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


class OutOfMemoryKills:
    """What the kernel has killed in our control group for want of memory. `look` again and again."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._file = next((path for path in _counters(root) if _count(path) is not None), None)
        self._count = self._now()
        self._rose_at: float | None = None

    def look(self) -> None:
        """Some ten microseconds."""
        count = self._now()
        if count > self._count:
            self._count, self._rose_at = count, time.monotonic()

    @property
    def was_recent(self) -> bool:
        """Whether there was one within the last seconds."""
        return self._rose_at is not None and time.monotonic() - self._rose_at < RECENT_S

    def _now(self) -> int:
        return (_count(self._file) if self._file else 0) or 0


def _counters(root: Path) -> Iterator[Path]:
    """The files that may count, of both versions of control groups: at our own path or, in a container, at the top."""
    kinds = {"": ("sys/fs/cgroup", "memory.events"), "memory": ("sys/fs/cgroup/memory", "memory.oom_control")}
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, names, path = line.split(":", 2)
        for top, name in [kinds[names]] if names in kinds else []:
            yield root / top / path.lstrip("/") / name
    for top, name in kinds.values():
        yield root / top / name


def _count(path: Path) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
