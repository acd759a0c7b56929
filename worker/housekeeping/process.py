"""A housekeeping process: puts its parts together and runs them until it is told to end."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from starlette.applications import Starlette

from shared.process.clock import sync_clock
from shared.process.main import process_id
from shared.process.own_address import address_of
from shared.process.server import listen_for, serve
from shared.process.signals import Signals
from shared.process.tasks import SideTasks
from shared.registry import Registry, RegistryAway, open_registry
from shared.registry.address import parse_address
from shared.registry.contract import Exposed
from shared.settings import HousekeepingSettings, SettingsError
from shared.telemetry.catalogue import CERTIFICATE_EXPIRES_SECONDS
from shared.telemetry.endpoints import health_routes
from shared.telemetry.health import Health
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from shared.version import VERSION
from worker.housekeeping.certificate import LOOK_AGAIN_S, LOOK_EVERY_S, expires_at
from worker.housekeeping.jobs import apply_retention, close_records, end_what_rings_on, enqueue_lost_endings
from worker.housekeeping.kubernetes import Kubernetes, KubernetesAway
from worker.housekeeping.pod_costs import PodCosts
from worker.housekeeping.reaper import Grace, reap
from worker.housekeeping.schedule import EVERY_MINUTE, EVERY_SECOND, Job, Schedule
from worker.housekeeping.watch import SCHEDULE, RegistryWatch

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
                "close_records": Job(self._guarded("close_records", self._close), EVERY_SECOND),
                "reap": Job(self._guarded("reap", self._reap), EVERY_SECOND),
                "tidy": Job(self._guarded("tidy", self._tidy), EVERY_MINUTE),
            },
            partial(self._watch.job_failed, SCHEDULE),
        )
        self._side_tasks = SideTasks(self.health)
        self._kubernetes = _kubernetes_of_this_pod() if settings.pod_costs_s else None

    async def run(self, signals: Signals) -> None:
        """Work until told to end. Raises `SettingsError` when the port cannot be had."""
        listener = listen_for("SFVOPI_HOUSEKEEPING_PORT", self._settings.host, self._settings.port)
        routes = health_routes(self.health, self.meter, self._watch.details)
        server = await serve(Starlette(routes=routes), sock=listener)
        here = Exposed("housekeeping", process_id(), address_of(server.host, server.port))
        self._side_tasks.start("clock", self._keep_time(here))
        self._side_tasks.start("certificate", self._watch_certificate())
        if self._kubernetes is not None:
            self._side_tasks.start("pod costs", self._tell_pod_costs(self._kubernetes))
        schedule = self._side_tasks.start("schedule", self._schedule.keep_running())
        log.info("serving", version=VERSION, address=f"{server.host}:{server.port}")
        try:
            await signals.draining.wait()
            self.health.begin_draining()
            self._side_tasks.expect_ends()
            self._schedule.stop()
            stopping = asyncio.create_task(signals.stopping.wait(), name="stopping")
            await asyncio.wait([schedule, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
        finally:
            await self._side_tasks.stop()
            if self._kubernetes is not None:
                await self._kubernetes.close()
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

    def _guarded(self, name: str, job: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """One at a time here. A registry that is away is no error of a job: its next tick comes."""
        running = asyncio.Lock()

        async def run() -> None:
            if running.locked():
                return  # a long pause is being made up for
            async with running:
                try:
                    await job()
                except RegistryAway as away:
                    self._watch.failed(away)
                    self._watch.job_failed(name, str(away))
                except Exception as error:
                    self._watch.job_failed(name, type(error).__name__)
                    raise
                else:
                    self._watch.job_done(name)

        return run

    # -- side tasks
    async def _keep_time(self, here: Exposed) -> None:
        while True:
            try:
                await sync_clock(self._registry, self.meter)
                if here.address:
                    await self._registry.expose(here, round(self._settings.lease_s * 1000))
            except RegistryAway as away:
                self._watch.failed(away)
            else:
                self._watch.answered()
                self.health.started = True
            await asyncio.sleep(self._settings.heartbeat_s)

    async def _watch_certificate(self) -> None:
        while True:
            until = await expires_at(self._settings.public_wss_url)
            self.meter.set(CERTIFICATE_EXPIRES_SECONDS, until or 0.0)
            await asyncio.sleep(LOOK_EVERY_S if until else LOOK_AGAIN_S)

    async def _tell_pod_costs(self, kubernetes: Kubernetes) -> None:
        costs = PodCosts(kubernetes)
        while True:
            try:
                await costs.tell(await self._registry.workers(), self._registry.now_ms())
            except RegistryAway as away:
                self._watch.failed(away)
            await asyncio.sleep(self._settings.pod_costs_s)


def _kubernetes_of_this_pod() -> Kubernetes:
    try:
        return Kubernetes.of_this_pod()
    except KubernetesAway as away:
        raise SettingsError(f"SFVOPI_POD_COSTS_S is for pods of Kubernetes; set it to 0 elsewhere ({away})") from None
