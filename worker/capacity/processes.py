"""What the kernel tells of processes and cores: CPU time, resident memory. Linux's /proc."""

import os
import platform
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that these processes have used, in user and kernel mode."""
    return sum(_cpu_ticks(pid) for pid in pids) / _TICKS_PER_S


def rss_mb(pids: Iterable[int]) -> float:
    """Resident memory of these processes, what they share counted for each."""
    return sum(int((PROC / str(pid) / "statm").read_text().split()[1]) for pid in pids) * _PAGE_MB


def open_files(pid: int) -> int:
    """How many files, sockets and pipes this process has open."""
    return len(os.listdir(PROC / str(pid) / "fd"))


def idle_s(core: int) -> float:
    """Seconds for which this core had nothing to do."""
    for line in (PROC / "stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            return (int(fields[3]) + int(fields[4])) / _TICKS_PER_S  # idle, and waiting for a disk
    raise LookupError(f"no core {core}")


def put_first(pid: int) -> bool:
    """Have this process' session go before others', where the kernel schedules by session; whether we may.

    There, an idle priority elsewhere on the machine does not help: sessions share a core evenly, whatever is in them.
    """
    return _set_session_priority(pid, -20)


def put_back(pid: int) -> None:
    """As it is for whoever has done nothing about it."""
    _set_session_priority(pid, 0)


def processor() -> str:
    """The machine's processor by name."""
    for line in (PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_gb() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1024**3


def _set_session_priority(pid: int, nice: int) -> bool:
    try:
        (PROC / str(pid) / "autogroup").write_text(str(nice))
    except OSError:
        return False
    return True


def _cpu_ticks(pid: int) -> int:
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
