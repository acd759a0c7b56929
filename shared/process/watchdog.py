"""A process that freezes is killed by its parent: the callers behind it are lost to it anyway, and to nobody else.

Nothing outside notices soon enough: a stopped process keeps its sockets, and a caller's media keeps them alive. So the
child's event loop beats on a pipe, and its parent (`guard`, the standard library only, some 10 MB) waits for the beats.
Each beat says how long to wait for the next one; 0 means: do not. A child that says nothing, as during its start, is
not under watch. A child far beyond the memory that it may use is killed as well.

Before it kills, the parent asks the child what its loop is in (`last_words.py` answers), and afterwards it tells
how the child died. The parent passes signals on, dies with nobody left behind (Linux), exits with the child's status,
and, as the first process of a container, buries what other processes leave.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.fleet.death import DeathCause
from shared.process.post_mortem import OutOfMemoryKills, cause_of, is_stopped, resident_mb, waited_s

BEATS_FD = "WATCHDOG_BEATS_FD"  # the pipe and our pid, in the child's environment: see `beats.py`
KILLED = 70  # exit status: the child froze, or took too much memory, and was killed (EX_SOFTWARE)
FROZEN = "frozen: killed"  # the line in the log
LOOK_S = 0.2
ANSWER_S = 0.3  # for a child that is about to be killed, to say what it is in
LEAVE_S = 5.0  # for a child that beat and has closed its pipe, to be gone
MEMORY_EXCESS = 1.2  # of its limit: from nine tenths on it takes no new calls, which is the gentler way
BUSY_S = 0.75  # a loop that has missed a beat is still in what made the memory grow
SILENT_S = 1.0  # two beats are missing
STARVED = 0.95  # of its silence a process waited for a core: the machine's fault. Code that spins has some of it
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


@dataclass(frozen=True)
class Death:
    """How the child died, and what it had told us: who it is, and what its loop was in (`call_id`, `bot`, `stack`)."""

    cause: DeathCause
    detail: str
    told: dict[str, Any]
    at: float  # time.time(); of a freeze, when it began
    status: int  # for us to exit with


def guard(
    module: str, tell: Callable[[Death], None] = lambda death: None, prepare: Callable[[], None] = lambda: None
) -> int:
    """Run `python -m module` with our arguments under watch; returns the exit status for this process.

    `tell` is called once, when the child is dead; `prepare` before, if it seems that it will be soon.
    """
    beats, given = os.pipe()
    os.set_inheritable(given, True)
    argv = [sys.executable, "-m", module, *sys.argv[1:]]
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until there is somebody to pass them on to
    child = os.posix_spawn(sys.executable, argv, {**os.environ, BEATS_FD: f"{given}:{os.getpid()}"}, setsigmask=())
    os.close(given)
    for sig in PASSED_ON:
        signal.signal(sig, lambda number, _: _pass_on(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    death = _Watch(child, beats, prepare).until_death()
    if death.cause is not DeathCause.ENDED and death.told.get("worker_id"):
        named = {name: death.told.get(name) for name in ("call_id", "bot", "stack") if death.told.get(name)}
        log("worker died", pid=child, cause=str(death.cause), detail=death.detail, **named)
    tell(death)
    return death.status


def _pass_on(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(child, number)


class _Watch:
    """One child: what it told, when its loop beat last."""

    def __init__(self, child: int, beats: int, prepare: Callable[[], None]) -> None:
        self._child = child
        self._prepare: Callable[[], None] | None = prepare
        self._beats = beats
        self._told: dict[str, Any] = {}
        self._unread = b""
        self._is_closed = False
        self._heard_at, self._waited_s = time.monotonic(), 0.0
        self._memory = OutOfMemoryKills()
        self._beyond_since: float | None = None  # its memory

    def until_death(self) -> Death:
        while True:
            looked_at = time.monotonic()
            has_told = self._listen(LOOK_S)
            self._memory.look()
            if (status := _ended(self._child)) is not None:
                return self._died(status)
            now = time.monotonic()
            if not has_told and now - looked_at > 1:
                self._heard_at = now  # the machine stood still, and we with it: no fault of the child's
            elif (death := self._judge(now - self._heard_at)) is not None:
                return death

    def _judge(self, silent_s: float) -> Death | None:
        """Kill a child that must not go on."""
        limit_s = float(self._told.get("limit_s", 0))
        if self._is_closed and limit_s and silent_s > max(LEAVE_S, limit_s):
            return self._kill("closed: killed", DeathCause.CRASHED, "it closed its pipe, and did not end")
        if not self._is_closed and limit_s and silent_s > limit_s:
            return self._freeze(silent_s)
        if limit_s and silent_s > SILENT_S and self._prepare is not None:
            prepare, self._prepare = self._prepare, None
            try:
                prepare()
            except Exception as error:  # the child may live on, and dies with us
                log("the death note cannot be prepared", reason=type(error).__name__)
        return self._judge_memory(silent_s)

    def _judge_memory(self, silent_s: float) -> Death | None:
        """Beyond its limit, killed with its next beat, or named when none comes: its loop is in one thing."""
        limit_mb = float(self._told.get("memory_limit_mb", 0))
        used_mb = resident_mb(self._child) if limit_mb else 0.0
        if used_mb <= MEMORY_EXCESS * limit_mb:
            self._beyond_since = None
            return None
        if self._beyond_since is None:
            self._beyond_since = time.monotonic()
        if silent_s > BUSY_S:
            self._ask()
        elif self._heard_at <= self._beyond_since:
            return None
        return self._kill("too much memory: killed", DeathCause.MEMORY, f"{used_mb:.0f} MB of {limit_mb:.0f}")

    def _freeze(self, silent_s: float) -> Death | None:
        if is_stopped(self._child) and not self._told.get("by_itself"):
            return self._kill(FROZEN, DeathCause.OUTSIDE, f"stopped for {silent_s:.1f} s", silent_s)
        if (late_s := waited_s(self._child) - self._waited_s) > STARVED * silent_s:
            return self._kill(FROZEN, DeathCause.OUTSIDE, f"without a core for {late_s:.1f} s", silent_s)
        self._ask()
        stack = self._told.get("stack") or [""]
        where = f" in {stack[-1]}" if stack[-1] else ""
        return self._kill(FROZEN, DeathCause.FROZEN, f"stood still for {silent_s:.1f} s{where}", silent_s)

    def _ask(self) -> None:
        """Have the child say which session its loop is in. It does not live on after that."""
        if self._told.get("has_last_words"):
            os.kill(self._child, signal.SIGABRT)
            until = time.monotonic() + ANSWER_S
            while "call_id" not in self._told and (left_s := until - time.monotonic()) > 0:
                self._listen(left_s)
            self._listen(0.02)  # the stack comes behind the name

    def _kill(self, event: str, cause: DeathCause, detail: str, since_s: float = 0.0) -> Death:
        log(event, pid=self._child, silent_s=round(since_s, 1), detail=detail)
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        return Death(cause, detail, self._told, time.time() - since_s, KILLED)

    def _died(self, status: int) -> Death:
        while self._listen(0):  # its last words
            pass
        self._memory.look()
        cause, detail = cause_of(status, self._told, self._memory.was_recent)
        return Death(cause, detail, self._told, time.time(), status if status >= 0 else 128 - status)

    def _listen(self, seconds: float) -> bool:
        """Take in what it tells within this time; whether it did."""
        if self._is_closed:
            time.sleep(seconds)
            return False
        if not select.select([self._beats], [], [], seconds)[0]:
            return False
        told = os.read(self._beats, 65536)
        if not told:
            self._is_closed = True
            return False
        *lines, self._unread = (self._unread + told).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, TypeError):
                self._told.update(json.loads(line))
        self._heard_at, self._waited_s = time.monotonic(), waited_s(self._child)
        return True


def _ended(child: int) -> int | None:
    """The child's status if it has ended. Other processes that became ours, as those of a container do, are buried."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return None
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def log(event: str, **data: object) -> None:
    """A line of the watchdog's own, as the child's look: it has no logger."""
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    line = json.dumps({**data, "level": "error", "timestamp": at, "event": event, "component": "watchdog"})
    with contextlib.suppress(OSError):  # a terminal that is gone, a full disk: no reason to leave the child unwatched
        os.write(sys.stdout.fileno(), line.encode() + b"\n")


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
