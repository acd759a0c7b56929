"""A real gateway alone on a core; Redis, the echo that stands for a worker, nginx and the client on another one."""

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

from shared.carrier.load.client import Target
from shared.cli.fleet.child import Child
from shared.cli.fleet.environment import ROOT, child_environment
from shared.cli.fleet.plan import Programs
from shared.cli.fleet.ports import free_port
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.registry import RedisRegistry
from tests.bench.subjects import Cores, OurFleet, Server, pinned_to
from worker.capacity.processes import put_first

SLOTS = 1_000_000  # never the limit here
LEASE_MS = 3600 * 1000
READY_WITHIN_S = 30


class Front:
    """An async context manager. `target` leads through the gateway, `straight` to the echo, `bare_url` to a handler
    that does nothing but the least."""

    def __init__(self, cores: Cores, *, is_direct: bool = False) -> None:
        self.cores = cores
        self.folder = Path(tempfile.mkdtemp(prefix="sfvopi-bench-gateway-"))
        self._fleet = OurFleet(
            workers=0,
            housekeeping=False,
            run_dir=self.folder,
            stop_within_s=1,
            media_path="direct" if is_direct else "relayed",
            programs=Programs(gateway=(sys.executable, "-m", "tests.bench.gateway_process")),
            env={"SFVOPI_OVERFLOW": "reject"},
        )
        self._fleet.cores = cores
        self._fleet.measured = ["gateway"]
        self._fleet.lag_files = {}
        self._echo = Server("echo", Cores(cores.load, cores.load), "tests.bench.echo")
        self._bare: Child | None = None
        self.target = Target(self._fleet.answer_url, self._fleet.hangup_url)
        self.straight = self._echo.target

    @property
    def pid(self) -> int:
        """The gateway's."""
        return self._fleet.pid("gateway")

    @property
    def answer_url(self) -> str:
        return self._fleet.answer_url

    @property
    def bare_pid(self) -> int:
        assert self._bare is not None
        return self._bare.pid

    async def start_bare(self) -> str:
        """The bare handler on the gateway's core, at the gateway's Redis; its URL."""
        port = free_port()
        argv = [sys.executable, "-m", "tests.bench.gateway.bare", "--port", str(port)]
        env = {**child_environment(with_settings=False), "REDIS_URL": self._fleet.redis_url}
        self._bare = Child("bare", argv, env, ROOT, self.folder / "bare.log")
        with pinned_to(self.cores.subject):
            await self._bare.start()
        put_first(self._bare.pid)
        async with asyncio.timeout(READY_WITHIN_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    return f"http://127.0.0.1:{port}/webhook/answer"
                except OSError:
                    await asyncio.sleep(0.1)

    async def __aenter__(self) -> Self:
        try:
            await self._fleet.start()
            put_first(self.pid)
            await self._echo.start()
            await self._announce()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        await self._stop()
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    async def _announce(self) -> None:
        """To the registry the echo is a worker; a Redis that was empty places nothing until workers have told of it."""
        registry = RedisRegistry.connect(self._fleet.redis_url)
        address = self._echo.target.answer_url.split("/")[2]
        echo = WorkerRecord("echo", address, WorkerState.SERVING, SLOTS, started_at_ms=round(time.time() * 1000))
        try:
            await registry.heartbeat(echo, [], LEASE_MS)
            async with asyncio.timeout(READY_WITHIN_S):
                while await registry.reserve(f"probe-{time.time_ns()}", 1) is None:
                    await asyncio.sleep(0.1)
        finally:
            await registry.close()

    async def _stop(self) -> None:
        await self._fleet.drain(1)
        await self._fleet.close()
        await self._echo.__aexit__(None)
        if self._bare:
            await self._bare.end(2)
