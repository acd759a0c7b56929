"""A process that freezes is killed by its parent: the callers behind it are lost to it anyway, and to nobody else.

Nothing outside notices soon enough: a stopped process keeps its sockets, and a caller's media keeps them alive. So the
child's event loop beats on a pipe, and its parent (`guard`, the standard library only, some 10 MB) waits for the beats.
Each beat says how long to wait for the next one; 0 means: do not. A child that says nothing, as during its start, is
not under watch; with a limit of 0 this process only waits.

The parent passes signals on, dies with nobody left behind (Linux), exits with the child's status, and, as the first
process of a container, buries what other processes leave.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from datetime import UTC, datetime

BEATS_FD = "WATCHDOG_BEATS_FD"  # the pipe and our pid, in the child's environment: see `beats.py`
KILLED = 70  # exit status: the child froze and was killed (EX_SOFTWARE)
LOOK_S = 0.2
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


def guard(module: str) -> int:
    """Run `python -m module` with our arguments under watch; returns the exit status for this process."""
    beats, given = os.pipe()
    os.set_inheritable(given, True)
    argv = [sys.executable, "-m", module, *sys.argv[1:]]
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until there is somebody to pass them on to
    child = os.posix_spawn(sys.executable, argv, {**os.environ, BEATS_FD: f"{given}:{os.getpid()}"}, setsigmask=())
    os.close(given)
    for sig in PASSED_ON:
        signal.signal(sig, lambda number, _: _pass_on(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    status = _watch(child, beats)
    return status if status >= 0 else 128 - status


def _pass_on(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(child, number)


def _watch(child: int, beats: int) -> int:
    """Until the child has ended: its status (negative: the signal), or `KILLED`."""
    limit_s, beaten_at = 0.0, time.monotonic()
    while True:
        looked_at = time.monotonic()
        has_beaten = bool(select.select([beats], [], [], LOOK_S)[0])
        if (status := _ended(child)) is not None:
            return status
        now = time.monotonic()
        if has_beaten:
            limit_s, beaten_at = _limit(os.read(beats, 4096), limit_s), now
            if limit_s < 0:  # the pipe is closed: it is about to end
                return _wait(child)
        elif now - looked_at > 1:
            beaten_at = now  # the machine stood still, and we with it: no fault of the child's
        elif limit_s and now - beaten_at > limit_s:
            _log("frozen: killed", pid=child, silent_s=round(now - beaten_at, 1))
            os.kill(child, signal.SIGKILL)
            _wait(child)
            return KILLED


def _limit(said: bytes, before_s: float) -> float:
    """What the last whole beat says; -1 when the pipe was closed."""
    lines = said.decode(errors="replace").split("\n")[:-1]
    if not said:
        return -1.0
    return float(lines[-1]) if lines else before_s


def _ended(child: int) -> int | None:
    """The child's status if it has ended. Other processes that became ours, as those of a container do, are buried."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return None
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _log(event: str, **data: object) -> None:
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    print(json.dumps({**data, "level": "error", "timestamp": at, "event": event, "component": "watchdog"}), flush=True)


def guarded(pid: int, module: str) -> int:
    """The process that runs `module` below the watchdog `pid`, or `pid` itself. For tools; needs Linux's /proc."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            below = [int(child) for child in children.read().split()]
        return next((child for child in below if module in _command(child)), pid)
    except OSError:
        return pid


def _command(pid: int) -> list[str]:
    with open(f"/proc/{pid}/cmdline") as command:
        return command.read().split("\0")
