"""A Redis that can be killed, frozen, slowed down, restarted empty, and one that fails over: real valkey servers.

Everything is a child of ours on loopback, kept by `Child`, which dies with us.
"""

import asyncio
import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from shared.cli.fleet.child import Child
from shared.cli.fleet.embedded_redis import server_binary
from shared.cli.fleet.environment import ROOT
from shared.cli.fleet.ports import free_port

NOTHING_ON_DISK = ("--save", "", "--appendonly", "no")
START_S = 10.0


class Server:
    """One valkey process at a port that stays the same over restarts; empty after each."""

    def __init__(self, folder: Path, name: str, *options: str) -> None:
        self.port = free_port()
        self._folder = folder / name
        self._folder.mkdir()
        argv = [str(server_binary()), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        log = folder / f"{name}.log"
        self.child = Child(name, [*argv, *NOTHING_ON_DISK, *options], dict(os.environ), self._folder, log)

    async def start(self) -> None:
        await self.child.start()
        await until_open(self.port, answers_ping=True)

    def send(self, sig: signal.Signals) -> None:
        self.child.send(sig)

    async def kill(self) -> None:
        self.child.send(signal.SIGCONT)
        await self.child.end(within_s=0)


class RedisUnderFire:
    """One server behind a proxy that can be slow. `url` is for REDIS_URL. Logs go to `folder`."""

    def __init__(self, folder: Path) -> None:
        self.server = Server(folder, "redis")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        argv = [sys.executable, "-m", "tests.chaos.slow_proxy", str(self.port), str(self.server.port)]
        self._proxy = Child("redis-proxy", argv, {**os.environ, "PYTHONPATH": str(ROOT)}, ROOT, folder / "proxy.log")

    async def start(self) -> None:
        await self.server.start()
        await self._proxy.start()
        await until_open(self.port)

    async def kill(self) -> None:
        """Nobody listens there any more."""
        self._proxy.send(signal.SIGKILL)
        await self.server.kill()
        await self._proxy.wait()

    async def restart_empty(self) -> None:
        """Killed, and at once there again, with nothing in it. Connections to it are lost."""
        await self.server.kill()
        await self.server.start()

    def freeze(self) -> None:
        self.server.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.server.send(signal.SIGCONT)

    def slow_down(self) -> None:
        self._proxy.send(signal.SIGUSR1)

    def speed_up(self) -> None:
        self._proxy.send(signal.SIGUSR2)

    async def stop(self) -> None:
        await self._proxy.end(within_s=0)
        await self.server.kill()


class SentinelRedis:
    """A master, a replica, and a sentinel that makes the one of the other when the master dies."""

    SERVICE = "fleet"

    def __init__(self, folder: Path) -> None:
        self.master = Server(folder, "redis-a")
        self.replica = Server(folder, "redis-b", "--replicaof", "127.0.0.1", str(self.master.port))
        self.sentinel_port = free_port()
        self.url = f"redis+sentinel://127.0.0.1:{self.sentinel_port}/{self.SERVICE}/0"
        settings = folder / "sentinel.conf"
        settings.write_text(
            f"port {self.sentinel_port}\nbind 127.0.0.1\ndir {tempfile.gettempdir()}\n"
            f"sentinel monitor {self.SERVICE} 127.0.0.1 {self.master.port} 1\n"
            f"sentinel down-after-milliseconds {self.SERVICE} 1000\n"
            f"sentinel failover-timeout {self.SERVICE} 5000\n"
        )
        argv = [str(server_binary()), str(settings), "--sentinel"]
        self._sentinel = Child("sentinel", argv, dict(os.environ), folder, folder / "sentinel.log")

    async def start(self) -> None:
        await self.master.start()
        await self.replica.start()
        await self._sentinel.start()
        await until_open(self.sentinel_port)
        async with asyncio.timeout(START_S):
            while not await self._knows_replica():
                await asyncio.sleep(0.2)

    async def _knows_replica(self) -> bool:
        told = await ask(self.sentinel_port, "SENTINEL", "REPLICAS", self.SERVICE)
        return str(self.replica.port).encode() in told

    async def fail_over(self) -> None:
        """Kill the master. Returns at once."""
        await self.master.kill()

    async def stop(self) -> None:
        await self._sentinel.end(within_s=0)
        await self.replica.kill()
        await self.master.kill()


async def ask(port: int, *words: str) -> bytes:
    """A command's raw answer (as much as comes at once); empty when nobody answers."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            command = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
            writer.write(f"*{len(words)}\r\n{command}".encode())
            answer = await reader.read(65536)
            writer.close()
            return answer
    return b""


async def until_open(port: int, *, answers_ping: bool = False) -> None:
    """Wait until somebody listens at a port, and answers if that is asked. Raises `TimeoutError`."""
    async with asyncio.timeout(START_S):
        while True:
            if answers_ping:
                if (await ask(port, "PING")).startswith(b"+PONG"):
                    return
            else:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    return
            await asyncio.sleep(0.02)
