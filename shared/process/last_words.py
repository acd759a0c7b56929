"""What a process says to the watchdog above it before it dies: which session its event loop is in, and where.

Theory of operation. Signals that a fault raises, and the watchdog's question (SIGABRT), are handled below Python, by a
function that the kernel calls at once: Python's own handlers run only when the interpreter comes round, which code that
crashes or stands still in C never does. The function runs Python in the midst of whatever was interrupted, which is
allowed to nobody who wants to live on; nobody here does. So it comes in an order in which each step may be the last:
the signal is given its usual effect back, an alarm is set in case the next steps hang, the name is written, then the
stack. When it returns, the signal strikes again. Linux on 64 bits; elsewhere nothing is said.
"""

import ctypes
import mmap
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
SA_SIGINFO, SA_ONSTACK = 4, 0x08000000
STACK_BYTES = 512 * 1024  # the fault may be that the usual stack is full
SENDER_AT = 16  # of `siginfo_t`: where si_pid stands
LAST_RESORT_S = 1
MOST_FRAMES, MOST_TEXT = 8, 200  # all of it is one write that a pipe takes whole

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class _Action(ctypes.Structure):
    """`struct sigaction`, as glibc and musl have it on 64 bits."""

    _fields_ = (
        ("handler", _Handler),
        ("mask", ctypes.c_ulong * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


class _Stack(ctypes.Structure):
    """`stack_t`."""

    _fields_ = (("at", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


class LastWords:
    """From `listen` on this process answers for itself. `whose` gives the session of the code that runs, as fields."""

    def __init__(self, say: Callable[[dict[str, Any]], None], whose: Callable[[], dict[str, str]]) -> None:
        self._say = say
        self._whose = whose
        self._pid = os.getpid()
        self._parent = os.getppid()
        self._exit, self._kill = os._exit, os.kill
        self._kept: list[object] = []  # what C has a pointer to

    @property
    def can_be_heard(self) -> bool:
        return sys.platform == "linux" and sys.maxsize > 2**32

    def listen(self) -> None:
        """Take the faults' signals, and the two functions with which Python code ends its process."""
        if not self.can_be_heard:
            return
        self._libc = ctypes.CDLL(None)
        room = mmap.mmap(-1, STACK_BYTES)
        at = ctypes.addressof(ctypes.c_char.from_buffer(room))
        self._libc.sigaltstack(ctypes.byref(_Stack(at, 0, STACK_BYTES)), None)
        action = _Action(_Handler(self._struck), (ctypes.c_ulong * 16)(), SA_SIGINFO | SA_ONSTACK, None)
        self._kept += [room, action]
        for number in FAULTS:
            self._libc.sigaction(number, ctypes.byref(action), None)
        os._exit = self._exit_named  # type: ignore[assignment]
        os.kill = self._kill_named
        os.register_at_fork(after_in_child=self.stop)

    def stop(self) -> None:
        """What comes now, or in a child process, is nobody's."""
        if self._kept:
            os._exit, os.kill = self._exit, self._kill
            for number in FAULTS:
                self._libc.signal(number, ctypes.c_void_p(0))

    def _struck(self, number: int, info: int, _: object) -> None:
        self._libc.signal(number, ctypes.c_void_p(0))
        sender = _sender(info)
        if os.getpid() == self._pid and sender != self._parent:
            self._libc.signal(signal.SIGALRM, ctypes.c_void_p(0))
            self._libc.alarm(LAST_RESORT_S)
        if sender is None or sender == self._pid:
            self._tell(by_itself=True)
        elif sender != self._parent:
            self._tell_sender(sender)
        elif threading.current_thread() is threading.main_thread():  # of another thread we were not asked
            self._tell()
        if sender is not None and sender != self._parent:
            self._kill(os.getpid(), number)  # blocked until we return

    def _tell(self, **more: object) -> None:
        if os.getpid() != self._pid:  # a fork, which has our pipe, and is not us
            return
        whose = {"call_id": "", "bot": "", **self._whose()}
        self._say({**whose, **more})
        self._say({"stack": _stack()})

    def _tell_sender(self, sender: int) -> None:
        if os.getpid() == self._pid:
            self._say({"sent_by": sender})

    def _exit_named(self, status: int) -> None:
        self._tell()
        self._exit(status)

    def _kill_named(self, pid: int, number: int) -> None:
        if pid == self._pid and number in (signal.SIGKILL, signal.SIGSTOP):
            self._tell(by_itself=True)
        self._kill(pid, number)


def _sender(info: int) -> int | None:
    """The process that has sent the signal; None for a fault."""
    code = ctypes.c_int.from_address(info + 8).value
    return ctypes.c_int.from_address(info + SENDER_AT).value if code <= 0 else None


def _stack() -> list[str]:
    """The lines that run, the innermost last; without ours."""
    found: list[str] = []
    frame = sys._getframe()
    while frame is not None and len(found) < MOST_FRAMES:
        if frame.f_code.co_filename != __file__:
            found.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"[-MOST_TEXT:])
        frame = frame.f_back  # type: ignore[assignment]
    return found[::-1]
