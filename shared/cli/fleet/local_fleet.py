"""A whole fleet on this machine: an embedded Redis if none is given, a gateway, workers, housekeeping; nginx if wished.

Every process is a child of ours with its own log file. `sfvopi up`, `sfvopi demo` and tests run their fleets
through this; it knows the processes by their command lines and HTTP alone.

    async with LocalFleet(workers=2, bot="tests.bots.echo:bot") as fleet:
        … fleet.answer_url, fleet.api, fleet.kill("worker-1"), fleet.logs("gateway")
"""

import asyncio
import contextlib
import os
import shutil
import signal
from types import TracebackType
from typing import Any, Self

from shared.cli.api import FleetApi
from shared.cli.fleet.child import Child
from shared.cli.fleet.embedded_redis import EmbeddedRedis
from shared.cli.fleet.log_files import read_lines
from shared.cli.fleet.plan import FleetPlan
from shared.cli.fleet.readiness import wait_until_ready
from shared.process.watchdog import guarded

CUT_WITHIN_S = 5  # for a process that was told to end now


class LocalFleet(FleetPlan):
    """An async context manager; its arguments are those of `FleetPlan`. Raises `FleetFailed` when it cannot start."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.children: dict[str, Child] = {}
        self.redis: EmbeddedRedis | None = None
        self.api = FleetApi(self.api_url, self.api_token)

    @property
    def names(self) -> list[str]:
        """Our processes without Redis, in the order in which they end."""
        edge = ["nginx"] if self.has_nginx else []
        return [*self.worker_names, *edge, "gateway", *(["housekeeping"] if self.housekeeping else [])]

    def pid(self, name: str) -> int:
        """Of the process that does the work, not of a watchdog above it."""
        return guarded(self.children[name].pid, "worker.process")

    def kill(self, name: str, sig: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a process by name: gateway, worker-1, housekeeping, redis, nginx and its workers."""
        child = self.children[name]
        if name == "nginx" and sig == signal.SIGKILL:
            child.kill()
        elif child.is_running:
            os.kill(self.pid(name), sig)

    def logs(self, name: str) -> list[dict[str, Any]]:
        """All log lines of a process, as their fields."""
        return read_lines(self.log_path(name))

    async def start(self) -> None:
        """Bring everything up and wait until every process is ready."""
        if not self.redis_url:
            self.redis = EmbeddedRedis(log=self.folder / "redis.log")
            await self.redis.start()
            self.redis_url = self.redis.url
            self.children["redis"] = self.redis.child
            self.on_progress("redis", "ready")
        for name in self.names:
            await self.start_process(name)
        await self.wait_until_ready()

    async def start_process(self, name: str) -> None:
        """Start a process, or start it again after it has ended."""
        if name == "redis":
            return await self.children[name].start()
        self.generation[name] = self.generation.get(name, 0) + 1
        child = Child(name, self.argv(name), self.environment(name), self.working_folder, self.log_path(name))
        self.children[name] = child
        await child.start()
        self.on_progress(name, "started")
        return None

    async def wait_until_ready(self, within_s: float | None = None) -> None:
        """Wait for all processes. Raises `FleetFailed` when one has ended or is not ready in time."""
        await wait_until_ready(self, self.children, self.api, within_s or self.ready_within_s)

    async def drain(self, within_s: float | None = None) -> list[str]:
        """Workers end first, when their calls have; then the gateway, housekeeping, Redis. Returns who was killed."""
        left_s = self.stop_within_s if within_s is None else within_s
        cut: list[str] = []
        for group in (self.worker_names, ["nginx"], ["gateway"], ["housekeeping"]):
            children = [self.children[name] for name in group if name in self.children]
            by_themselves = await asyncio.gather(*(child.end(left_s) for child in children))
            cut += [child.name for child, went in zip(children, by_themselves, strict=True) if not went]
        return cut

    async def end_now(self) -> None:
        """End all processes at once: live calls are cut."""
        ours = [child for name, child in self.children.items() if name != "redis"]
        await asyncio.gather(*(child.end(CUT_WITHIN_S, signal.SIGINT) for child in ours))

    async def close(self) -> None:
        """Kill what still runs, and give Redis and sockets back. Log files stay."""
        await asyncio.gather(*(child.end(0) for child in self.children.values() if child.name != "redis"))
        if self.redis:
            await self.redis.stop()
        await self.api.close()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await asyncio.shield(self.close())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await self.drain()
        await asyncio.shield(self.close())
        if kind is None and self.run_dir is None:
            shutil.rmtree(self.folder, ignore_errors=True)
