"""What a parent makes of its child's end: the cause, and by whose hand."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.process.post_mortem import OutOfMemoryKills, cause_of, is_stopped, resident_mb, waited_s

LEFT = {"leaves": True}


@pytest.mark.parametrize(
    ("status", "told", "was_out_of_memory", "cause", "detail"),
    [
        (0, LEFT, False, "ended", "exit status 0"),
        (0, {}, False, "crashed", "exit status 0"),  # it said no goodbye: `os._exit(0)`
        (1, LEFT, False, "crashed", "exit status 1"),
        (3, {}, True, "crashed", "exit status 3"),
        (-signal.SIGSEGV, {}, False, "crashed", "SIGSEGV"),
        (-signal.SIGALRM, {}, False, "crashed", "SIGALRM"),
        (-signal.SIGSEGV, {"sent_by": 7}, False, "outside", "SIGSEGV"),
        (-signal.SIGKILL, {}, False, "outside", "SIGKILL"),
        (-signal.SIGKILL, {"by_itself": True}, True, "crashed", "SIGKILL"),
        (-signal.SIGKILL, {}, True, "memory", "killed by the kernel, out of memory"),
        (-signal.SIGTERM, {}, True, "outside", "SIGTERM"),
        (-signal.SIGHUP, {}, False, "outside", "SIGHUP"),
        (-64, {}, False, "outside", "SIGRTMAX"),
        (-50, {}, False, "outside", "signal 50"),
    ],
)
def test_a_death_has_a_cause(
    status: int, told: dict[str, object], was_out_of_memory: bool, cause: str, detail: str
) -> None:
    assert cause_of(status, told, was_out_of_memory) == (cause, detail)


@pytest.mark.parametrize(
    ("group", "counter"),
    [
        ("0::/pods/one", "sys/fs/cgroup/pods/one/memory.events"),
        ("0::/pods/one", "sys/fs/cgroup/memory.events"),  # as a container sees its own group
        ("4:memory:/one", "sys/fs/cgroup/memory/one/memory.oom_control"),
    ],
)
def test_kills_of_the_kernel_are_counted_by_the_control_group(tmp_path: Path, group: str, counter: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"9:name=systemd:/\n{group}\n")
    file = tmp_path / counter
    file.parent.mkdir(parents=True)
    file.write_text("oom 3\noom_kill 3\noom_group_kill 0\n")
    kills = OutOfMemoryKills(tmp_path)
    kills.look()
    assert not kills.was_recent
    file.write_text("oom 4\noom_kill 4\noom_group_kill 0\n")
    kills.look()
    assert kills.was_recent


def test_where_linux_tells_nothing_nothing_is_known(tmp_path: Path) -> None:
    kills = OutOfMemoryKills(tmp_path)
    kills.look()
    assert not kills.was_recent
    assert not is_stopped(1, tmp_path)
    assert resident_mb(1, tmp_path) == 0
    assert waited_s(1, tmp_path) == 0


def test_a_process_that_was_stopped_is_told_from_one_that_sleeps(tmp_path: Path) -> None:
    (tmp_path / "5").mkdir()
    for state, stopped in (("S", False), ("R", False), ("T", True), ("t", True)):
        (tmp_path / "5/stat").write_text(f"5 (a (bad) name) {state} 1 5\n")
        assert is_stopped(5, tmp_path) is stopped


def test_a_process_that_wanted_a_core_and_had_none_has_waited() -> None:
    """Two that spin on one core: each waits about half of the time."""
    spin = "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass"
    core = min(os.sched_getaffinity(0))
    both = [
        subprocess.Popen([sys.executable, "-c", f"import os; os.sched_setaffinity(0, [{core}]);{spin}"]) for _ in "12"
    ]
    time.sleep(0.8)
    waited = [waited_s(process.pid) for process in both]
    for process in both:
        process.wait()
    assert min(waited) > 0.1
