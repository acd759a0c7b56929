"""A housekeeping process: puts its parts together and runs them until it is told to end."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette

from shared.process.server import listen_for, serve
from shared.process.signals import Signals
from shared.process.tasks import SideTasks
from shared.registry import Registry, RegistryAway, open_registry
from shared.registry.address import parse_address
from shared.settings import HousekeepingSettings
from shared.telemetry.catalogue import CLOCK_OFFSET_SECONDS
from shared.telemetry.endpoints import health_routes
from shared.telemetry.health import Health
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from shared.version import VERSION
from worker.housekeeping.jobs import apply_retention, close_records, end_what_rings_on, enqueue_lost_endings
from worker.housekeeping.reaper import Grace, reap
from worker.housekeeping.schedule import EVERY_MINUTE, EVERY_SECOND, Job, Schedule
from worker.housekeeping.watch import RegistryWatch

log = get_logger(__name__)


class Housekeeping:
    """One process' parts. `run` works until its signals say so."""

    def __init__(self, settings: HousekeepingSettings) -> None:
        url = settings.redis_url.get_secret_value()
        self.health = Health()
        self.meter = Meter("housekeeping")
        self._settings = settings
        self._registry: Registry = open_registry(url)
        self._grace = Grace.of(settings)
        self._watch = RegistryWatch(
            self.health,
            self.meter,
            settle_s=settings.lease_s + settings.heartbeat_s,
            gap_s=3 * settings.heartbeat_s,
        )
        self._schedule = Schedule(
            parse_address(url),
            {
                "close_records": Job(self._guarded(self._close), EVERY_SECOND),
                "reap": Job(self._guarded(self._reap), EVERY_SECOND),
                "tidy": Job(self._guarded(self._tidy), EVERY_MINUTE),
            },
        )
        self._side_tasks = SideTasks(self.health)

    async def run(self, signals: Signals) -> None:
        """Work until told to end. Raises `SettingsError` when the port cannot be had."""
        listener = listen_for("SFVOPI_HOUSEKEEPING_PORT", self._settings.host, self._settings.port)
        server = await serve(Starlette(routes=health_routes(self.health, self.meter)), sock=listener)
        self._side_tasks.start("clock", self._keep_time())
        schedule = self._side_tasks.start("schedule", self._schedule.keep_running())
        log.info("serving", version=VERSION, address=f"{server.host}:{server.port}")
        try:
            await signals.draining.wait()
            self.health.draining = True
            self._side_tasks.expect_ends()
            self._schedule.stop()
            stopping = asyncio.create_task(signals.stopping.wait(), name="stopping")
            await asyncio.wait([schedule, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
        finally:
            await self._side_tasks.stop()
            await server.stop()
            await self._registry.close()
        log.info("left")

    # -- jobs
    async def _close(self) -> None:
        await close_records(self._registry, self.meter)

    async def _reap(self) -> None:
        await reap(self._registry, self._grace, self.meter, is_settled=self._watch.is_settled)

    async def _tidy(self) -> None:
        await enqueue_lost_endings(self._registry)
        await end_what_rings_on(self._registry, self.meter)
        await apply_retention(self._registry, int(self._settings.retention_s * 1000))

    def _guarded(self, job: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """A job for which a registry that is away is no error: its next tick comes."""

        async def run() -> None:
            try:
                await job()
            except RegistryAway as away:
                self._watch.failed(away)

        return run

    # -- side tasks
    async def _keep_time(self) -> None:
        while True:
            try:
                offset_ms = await self._registry.sync_clock()
            except RegistryAway as away:
                self._watch.failed(away)
            else:
                self._watch.answered()
                self.health.started = True
                self.meter.set(CLOCK_OFFSET_SECONDS, offset_ms / 1000)
            await asyncio.sleep(self._settings.heartbeat_s)
