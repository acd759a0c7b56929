"""One child process: started with its output in a file, watched, ended. Knows nothing of what it runs.

The file is given to the child as it is, with no pipe and no reader between: a slow terminal of ours can never
hold up a process that carries calls.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from pathlib import Path

LAUNCH = Path(__file__).with_name("launch.py")


class Child:
    """A process of ours. It leads a session of its own, so a Ctrl-C in the terminal reaches only us.

    `sockets` are listening sockets that are handed to it by their names; they stay ours.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        sockets: Mapping[str, socket.socket] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._sockets = {name: listening.fileno() for name, listening in (sockets or {}).items()}
        self._argv, self._env, self._cwd = list(argv), dict(env), cwd
        self._process: Process | None = None

    async def start(self) -> None:
        """Start it; its standard output and error are appended to `log`."""
        handed = ",".join(f"{name}={fd}" for name, fd in self._sockets.items())
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-IS", str(LAUNCH), str(os.getpid()), handed, *self._argv),
                pass_fds=tuple(self._sockets.values()),
                env=self._env,
                cwd=self._cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status (negative: the signal that ended it), or None while it runs."""
        return self._process.returncode if self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def wait(self) -> int:
        """Its exit status, once it has ended."""
        assert self._process is not None, f"{self.name} was not started"
        return await self._process.wait()

    def send(self, sig: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.is_running:
            self._process.send_signal(sig)  # type: ignore[union-attr]

    def kill(self) -> None:
        """Kill it, and whatever it has started."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def end(self, within_s: float, sig: signal.Signals = signal.SIGTERM) -> bool:
        """Ask it to end and wait; after `within_s` it is killed. True when it went by itself."""
        if not self.is_running:
            return True
        self.send(sig)
        try:
            await asyncio.wait_for(self.wait(), within_s)
        except TimeoutError:
            self.kill()
            await self.wait()
            return False
        return True
