"""The beats of a process under a watchdog: its event loop says that it runs. The other side is `watchdog.py`."""

import asyncio
import json
import os
import signal
import sys
from typing import Any

from shared.process.watchdog import BEATS_FD

BEAT_S = 0.5
PR_SET_PDEATHSIG = 1


class Beats:
    """The child's side of the pipe: JSON objects, one a line, of which each later field holds over an earlier one.

    Without a watchdog above us it does nothing.
    """

    def __init__(self) -> None:
        given, _, parent = os.environ.pop(BEATS_FD, "").partition(":")
        self._fd = int(given) if given else -1
        if self._fd >= 0:
            os.set_inheritable(self._fd, False)
            os.set_blocking(self._fd, False)
            _die_with(int(parent))

    @property
    def has_watchdog(self) -> bool:
        return self._fd >= 0

    async def keep_beating(self, limit_s: float) -> None:
        """Until cancelled. From now on a loop that stands still for `limit_s` is deadly; 0: it is not."""
        while True:
            self.say({"limit_s": limit_s})
            await asyncio.sleep(BEAT_S)

    def stop(self) -> None:
        """What comes now may take its time: the end of the process, in good order."""
        self.say({"limit_s": 0, "memory_limit_mb": 0, "leaves": True})

    def say(self, what: dict[str, Any]) -> None:
        """Tell the watchdog, who reads it at once."""
        if self._fd >= 0:
            try:
                os.write(self._fd, json.dumps(what).encode() + b"\n")
            except OSError:  # a parent that does not read, or is gone: not our loop's fault
                return


def _die_with(parent: int) -> None:
    """Linux only; elsewhere a killed watchdog leaves its child running, unwatched."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)
