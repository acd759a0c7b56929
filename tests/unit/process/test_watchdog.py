"""The watchdog: real processes, frozen with real signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.process.watchdog import KILLED, guarded

PARENT = "import sys; from shared.process.watchdog import guard; sys.exit(guard('guarded_one.process'))"
CHILD = """
import asyncio, signal, sys, time
from shared.process.beats import Beats

async def main():
    told, loop, beats = asyncio.Event(), asyncio.get_running_loop(), Beats()
    for sig in (signal.SIGTERM, signal.SIGUSR1):
        loop.add_signal_handler(sig, told.set)
    beating = asyncio.create_task(beats.keep_beating(float(sys.argv[1])))
    await asyncio.sleep(0)  # the first beat is out: we are under watch
    print("up", flush=True)
    await told.wait()
    beating.cancel()
    beats.stop()
    time.sleep(1)
    sys.exit(int(sys.argv[2]))

asyncio.run(main())
"""
ROOT = Path(__file__).resolve().parents[3]

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    (tmp_path / "guarded_one").mkdir()
    (tmp_path / "guarded_one" / "process.py").write_text(CHILD)
    started: list[subprocess.Popen[str]] = []

    def run(limit_s: float = 0.6, status: int = 0) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", PARENT, str(limit_s), str(status)]
        env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
        process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def child_of(process: subprocess.Popen[str]) -> int:
    child = guarded(process.pid, "guarded_one.process")
    assert child != process.pid
    return child


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_frozen_child_is_killed_and_said_so(start: Start) -> None:
    process = start()
    child = child_of(process)
    os.kill(child, signal.SIGSTOP)
    assert process.wait(20) == KILLED
    assert is_gone(child)
    assert process.stdout
    told = json.loads(process.stdout.readline())
    assert (told["event"], told["pid"], told["level"]) == ("frozen: killed", child, "error")


def test_without_a_limit_nothing_is_killed(start: Start) -> None:
    process = start(limit_s=0)
    child = child_of(process)
    os.kill(child, signal.SIGSTOP)
    time.sleep(1.5)
    os.kill(child, signal.SIGCONT)
    process.terminate()
    assert process.wait(20) == 0


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_reach_the_child_whose_end_may_take_its_time_and_whose_status_is_ours(
    start: Start, sig: signal.Signals
) -> None:
    process = start(status=5)
    process.send_signal(sig)
    assert process.wait(20) == 5


def test_a_child_that_is_killed_ends_us_as_a_shell_tells_it(start: Start) -> None:
    process = start()
    os.kill(child_of(process), signal.SIGKILL)
    assert process.wait(20) == 128 + signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_the_child_dies_with_its_watchdog(start: Start) -> None:
    process = start()
    child = child_of(process)
    process.kill()
    process.wait(20)
    deadline = time.monotonic() + 10
    while not is_gone(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_watchdog_imports_nothing_heavy() -> None:
    look = (
        "import sys, worker.__main__;"
        "print(sorted({m.partition('.')[0] for m in sys.modules} - sys.stdlib_module_names), 'asyncio' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-S", "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "['__main__', 'shared', 'worker'] False\n"
