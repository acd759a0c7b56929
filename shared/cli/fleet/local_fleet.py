"""A whole fleet on this machine: an embedded Redis if none is given, gateways, workers, housekeeping; nginx if wished.

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
import socket
from types import TracebackType
from typing import Any, Self

from shared.cli.api import FleetApi
from shared.cli.fleet.child import Child
from shared.cli.fleet.embedded_redis import EmbeddedRedis
from shared.cli.fleet.log_files import read_lines
from shared.cli.fleet.plan import FleetPlan
from shared.cli.fleet.readiness import wait_until_ready
from shared.process.server import listen
from shared.process.watchdog import guarded

CUT_WITHIN_S = 5  # for a process that was told to end now


class LocalFleet(FleetPlan):
    """An async context manager; its arguments are those of `FleetPlan`. Raises `FleetFailed` when it cannot start."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.children: dict[str, Child] = {}  # of each name the newest generation
        self.leaving: list[Child] = []  # older ones, which finish their calls
        self._sockets: dict[str, socket.socket] = {}  # "public", and one by the name of each gateway
        self.redis: EmbeddedRedis | None = None
        self.api = FleetApi(self.api_url, self.api_token)

    @property
    def names(self) -> list[str]:
        """Our processes without Redis, in the order in which they end."""
        edge = ["nginx"] if self.has_nginx else []
        return [*self.worker_names, *edge, *self.gateway_names, *(["housekeeping"] if self.housekeeping else [])]

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
        self._listen()
        for name in self.names:
            await self.start_process(name)
        await self.wait_until_ready()

    def _listen(self) -> None:
        """The gateways' sockets are ours: what comes while one of them is replaced waits, and is not lost."""
        self._sockets["public"] = listen(self.host, self.gateway_port)
        for name, port in self.internal_ports.items():
            self._sockets[name] = listen(self.internal_host, port)

    async def start_process(self, name: str) -> None:
        """Start a process, or start it again after it has ended."""
        if name == "redis":
            return await self.children[name].start()
        self.generation[name] = self.generation.get(name, 0) + 1
        handed = {"public": self._sockets["public"], "internal": self._sockets[name]} if name in self._sockets else {}
        given = (self.argv(name), self.environment(name), self.working_folder, self.log_path(name))
        child = Child(name, *given, sockets=handed)
        await child.start()
        self.children[name] = child
        self.on_progress(name, "started")
        return None

    async def wait_until_ready(self, within_s: float | None = None) -> None:
        """Wait for all processes. Raises `FleetFailed` when one has ended or is not ready in time."""
        await wait_until_ready(self, self.children, self.api, within_s or self.ready_within_s)

    async def rolling_restart(self) -> None:
        """Every process, one after another, is replaced by a new one; what it has of calls it finishes.

        Returns when all new ones are ready: older ones (`leaving`) may still have calls. Raises `FleetFailed` when a
        new one does not come up; the old one of its name then stays.
        """
        self.is_restarting = True
        try:
            for name in [*self.gateway_names, *self.worker_names]:
                await self._replace(name)
            if self.housekeeping:
                self.leaving.append(self.children["housekeeping"])
                await self.children["housekeeping"].end(self.stop_within_s)
                await self.start_process("housekeeping")
                await self._until_it_is_ready("housekeeping")
                self.on_progress("housekeeping", "replaced")
        finally:
            self.is_restarting = False

    async def _replace(self, name: str) -> None:
        await self._until_few_leave()
        before = self.children[name]
        await self.start_process(name)
        try:
            await self._until_it_is_ready(name)
        except BaseException:
            await self.children[name].end(0)
            self.children[name] = before
            self.generation[name] -= 1
            raise
        self.leaving.append(before)
        before.send(signal.SIGTERM)
        self.on_progress(name, "replaced")

    async def _until_it_is_ready(self, name: str) -> None:
        """Of the others nothing is asked: one may drain, for an hour."""
        await wait_until_ready(self, {name: self.children[name]}, self.api, self.ready_within_s)

    async def _until_few_leave(self) -> None:
        """No more than two generations run at once."""
        while True:
            self.leaving = [child for child in self.leaving if child.is_running]
            if len(self.leaving) < self.workers + self.gateways:
                return
            ends = [asyncio.create_task(child.wait()) for child in self.leaving]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()

    async def drain(self, within_s: float | None = None) -> list[str]:
        """Workers end first, when their calls have; then the gateway, housekeeping, Redis. Returns who was killed."""
        left_s = self.stop_within_s if within_s is None else within_s
        cut: list[str] = []
        for group in (self.worker_names, ["nginx"], self.gateway_names, ["housekeeping"]):
            children = [self.children[name] for name in group if name in self.children]
            children += [child for child in self.leaving if child.name in group]
            by_themselves = await asyncio.gather(*(child.end(left_s) for child in children))
            cut += [child.name for child, went in zip(children, by_themselves, strict=True) if not went]
        return cut

    async def end_now(self) -> None:
        """End all processes at once: live calls are cut."""
        ours = [child for name, child in self.children.items() if name != "redis"] + self.leaving
        await asyncio.gather(*(child.end(CUT_WITHIN_S, signal.SIGINT) for child in ours))

    async def close(self) -> None:
        """Kill what still runs, and give Redis and sockets back. Log files stay."""
        ours = [child for child in self.children.values() if child.name != "redis"] + self.leaving
        await asyncio.gather(*(child.end(0) for child in ours))
        for listening in self._sockets.values():
            listening.close()
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
