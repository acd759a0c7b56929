"""What is done to the stack while callers call: scaled, killed, restarted, upgraded."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.deploy.load import Load
from tests.deploy.shell import say
from tests.deploy.stack import Stack

BACK_WITHIN_S = 120.0
PAUSE_S = 6.0


class NotInTime(Exception):
    """Something that should have come did not."""


class Play:
    """All scenes, one after another, and how long each took."""

    def __init__(self, stack: Stack, load: Load) -> None:
        self.stack = stack
        self.load = load
        self.seconds: dict[str, float] = {}

    async def watch(self) -> None:
        """Prometheus and Alertmanager beside the fleet: all of its processes are found and scraped."""
        began = time.monotonic()
        await self.stack.compose_beside(
            "--profile", "monitoring", "up", "-d", "--no-deps", "prometheus", "alertmanager"
        )
        services = ("gateway", "worker", "housekeeping")
        processes = sum(len(self.stack.running(service)) for service in services)

        async def is_so() -> bool:
            targets = await self.stack.scraped()
            return len(targets) == processes and set(targets) == {"up"}

        await self._until(is_so, f"{processes} processes that Prometheus scrapes")
        self.seconds["monitoring up"] = round(time.monotonic() - began, 1)
        say(f"monitoring up: {processes} processes are scraped")

    async def all(self) -> None:
        async with self._phase("calls"):
            await asyncio.sleep(2 * PAUSE_S)
        async with self._phase("the demo's call"):
            await self.stack.compose_beside("--profile", "demo", "run", "--rm", "-T", "--no-deps", "demo")
        async with self._phase("an operator looks"):
            await self.stack.compose_beside("exec", "-T", "gateway", "sfvopi", "workers")
        async with self._phase("workers 2 → 4"):
            await self.stack.scale(4)
            await self.until_serving(4)
        for name, sig in (("worker killed", signal.SIGKILL), ("worker frozen", signal.SIGSTOP)):
            async with self._phase(name):
                await self._harm_a_worker(sig)
        for service in ("gateway", "housekeeping", "nginx"):
            async with self._phase(f"{service} killed"):
                await self._kill(service)
        async with self._phase("nginx reloaded"):
            await self.stack.compose_beside("kill", "--signal", "HUP", "nginx")
        async with self._phase("Redis restarted"):
            await self.stack.compose_beside("restart", "redis")
            await self.until_serving(4)
        async with self._phase("gateways upgraded"):
            await self.stack.compose_beside("build", "--build-arg", "REVISION=next", "gateway")
            await self.stack.roll("gateway")
        async with self._phase("workers upgraded"):
            await self.stack.compose_beside("build", "--build-arg", "REVISION=next", "worker")
            await self.stack.roll("worker")
            await self.until_serving(4)
            self._expect_new()
        async with self._phase("workers 4 → 1"):
            await self.stack.scale(1)
            await self.until_serving(1)

    @asynccontextmanager
    async def _phase(self, name: str) -> AsyncIterator[None]:
        self.load.phase = name
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 1)
        say(f"{name}: {self.seconds[name]:g} s, {len(self.load.callers)} calls so far")
        await asyncio.sleep(PAUSE_S)

    async def _until(self, is_so: Callable[[], Awaitable[bool]], what: str, within_s: float = BACK_WITHIN_S) -> None:
        until = time.monotonic() + within_s
        while not await is_so():
            if time.monotonic() > until:
                raise NotInTime(f"{what}: not within {within_s:g} s")
            await asyncio.sleep(0.3)

    async def _serving(self) -> list[dict[str, Any]]:
        return [
            worker
            for worker in await self.stack.ask("workers") or []
            if worker["fresh"] and worker["state"] == "serving" and self.stack.container_of(worker)
        ]

    async def until_serving(self, workers: int) -> None:
        async def is_so() -> bool:
            return len(await self._serving()) == workers

        await self._until(is_so, f"{workers} workers that serve")

    async def _harm_a_worker(self, sig: signal.Signals) -> None:
        """The busiest; its container is started again by the engine."""
        workers = await self._serving()
        busiest = max(workers, key=lambda worker: worker["used"])
        name = self.stack.container_of(busiest)
        live = {call["call_id"]: call for call in await self.stack.ask("calls") or []}
        hit = self.load.live(call_id for call_id, call in live.items() if call["worker_id"] == busiest["worker_id"])
        starts = self._starts(name)
        self.stack.signal(name, sig)
        self.load.mark(hit)
        say(f"{sig.name} to the worker in {name}, with {len(hit)} calls")
        await self._until_started_again(name, starts)
        await self.until_serving(len(workers))

    async def _kill(self, service: str) -> None:
        name = next(iter(self.stack.running(service)))
        starts = self._starts(name)
        self.stack.signal(name, signal.SIGKILL)
        await self._until_started_again(name, starts)

    def _starts(self, name: str) -> int:
        return int(self.stack.containers()[name]["RestartCount"])

    async def _until_started_again(self, name: str, starts: int) -> None:
        async def is_so() -> bool:
            container = self.stack.containers()[name]
            has_health = "Health" in container["State"]
            is_well = not has_health or container["State"]["Health"]["Status"] == "healthy"
            return container["RestartCount"] > starts and container["State"]["Running"] and is_well

        await self._until(is_so, f"{name} started again by its restart policy")

    def _expect_new(self) -> None:
        """Every worker is of the image that was built last."""
        image = self.stack.engine.docker("image", "inspect", self.stack.worker_image, "--format", "{{.Id}}")
        old = [name for name, container in self.stack.running("worker").items() if container["Image"] != image]
        if old:
            raise NotInTime(f"not replaced: {', '.join(old)}")
