"""The gateway, put together: every part made once and handed what it needs; two apps and the side tasks."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route, WebSocketRoute

from gateway.admission import Admission
from gateway.api import Api
from gateway.attaching import Attaching, Recordings
from gateway.director import Director
from gateway.doorkeeper import Door, Doorkeeper
from gateway.failures import Failures
from gateway.hangups import Hangups
from gateway.holding import Holding
from gateway.judging import CulpritJudge
from gateway.line import Line
from gateway.local_admission import LastKnown, LocalAdmission
from gateway.losses import LostCalls
from gateway.music import Music
from gateway.notebook import Notebook
from gateway.prompt import read_apology_prompt, read_busy_prompt, read_hold_prompt
from gateway.quarantine import KnownQuarantines
from gateway.route import RouteEndpoint
from gateway.streams import Streams
from gateway.webhooks import Webhooks
from gateway.worker_check import WorkerCheck
from shared.process.clock import sync_clock
from shared.process.main import process_id
from shared.process.tasks import SideTasks, sample_loop_lag
from shared.registry import Registry, RegistryAway
from shared.registry.contract import Exposed
from shared.registry.settling import settling_ms
from shared.settings import GatewaySettings, Numbers
from shared.settings.gateway import MediaPath
from shared.sfvopi.formats import AudioFormat, Codec
from shared.telemetry.catalogue import DRAIN_DEADLINE_SECONDS, REGISTRY_ERRORS
from shared.telemetry.endpoints import health_routes
from shared.telemetry.health import Health
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from shared.telemetry.traces import NO_TRACER, Tracer


@dataclass(frozen=True)
class Gateway:
    """What `build` made. `public` and `internal` are the apps of the two ports."""

    gateway_id: str
    registry: Registry
    meter: Meter
    health: Health
    notebook: Notebook
    lost_calls: LostCalls
    hangups: Hangups
    local: LocalAdmission
    director: Director
    streams: Streams
    line: Line
    quarantines: KnownQuarantines
    side_tasks: SideTasks
    settings: GatewaySettings
    public: Starlette
    internal: Starlette
    metrics_address: str = ""

    def start_side_tasks(self) -> None:
        """Needs a running loop."""
        self.side_tasks.start("heartbeat", self._heartbeat())
        self.side_tasks.start("notebook", self.notebook.run())
        self.side_tasks.start("line", self.line.run())
        self.side_tasks.start("line_nudges", self.line.listen())
        self.side_tasks.start("loop_lag", sample_loop_lag(self.meter))

    async def _heartbeat(self) -> None:
        while True:
            await self.beat()
            await asyncio.sleep(self.settings.heartbeat_s)

    async def beat(self) -> None:
        """Re-read the truth: the registry's time, the workers; do what waited for the registry."""
        self.streams.sample()
        lease_ms = round(self.settings.lease_s * 1000)
        try:
            await sync_clock(self.registry, self.meter)
            gateways = await self.registry.gateway_heartbeat(self.gateway_id, lease_ms)
            if self.metrics_address:
                await self.registry.expose(Exposed("gateway", self.gateway_id, self.metrics_address), lease_ms)
            await self.lost_calls.retry()  # first: it says how calls end whose hangup waits as well
            await self.hangups.retry()
            await self._learn(gateways)
        except RegistryAway as away:
            self.meter.count(REGISTRY_ERRORS)
            if not self.health.registry_away:
                get_logger(__name__).warning("registry is away; calls are placed from our share", why=str(away))
            self.health.registry_away = True
        else:
            if self.health.registry_away:
                get_logger(__name__).info("registry is back")
            self.health.registry_away = False

    async def _learn(self, gateways: int) -> None:
        """What is to be known when the registry is away; a registry that was started empty knows less than we do."""
        since_ms = await self.registry.since_ms()
        has_settled = since_ms and not settling_ms(since_ms, self.settings.settle_ms, self.registry.now_ms())
        if has_settled:
            await self.local.tell()
        workers = await self.registry.workers()
        self.director.last_workers = workers or self.director.last_workers
        now_ms = self.registry.now_ms()
        self.quarantines.learn(await self.registry.quarantined(), workers, now_ms)
        if has_settled:
            self.local.learn(LastKnown(tuple(workers), gateways, now_ms, self.quarantines.by_bot))

    async def close(self) -> None:
        """Stop side tasks, do what waited for the registry, write what is noted, give the registry's sockets back."""
        await self.side_tasks.stop()
        await self.line.close()
        await self.hangups.close()
        await self.notebook.close()
        await self.registry.close()


def build(
    settings: GatewaySettings,
    registry: Registry,
    *,
    public_port: int = 0,
    metrics_address: str = "",
    tracer: Tracer = NO_TRACER,
) -> Gateway:
    """A gateway over this registry. Raises `SettingsError` (numbers, prompt).

    `public_port` is the one listened on, `metrics_address` (IP:port) where the internal one is to be found.
    """
    numbers = Numbers.read(settings)
    warn_of_formats(numbers)
    gateway_id = process_id(settings.gateway_id)
    source = f"gateway:{gateway_id}"
    meter, health = Meter("gateway", numbers.groups_of_bots), Health()
    meter.set(DRAIN_DEADLINE_SECONDS, settings.drain_deadline_s)
    notebook = Notebook(registry, source, meter)
    local = LocalAdmission(registry, notebook)
    quarantines = KnownQuarantines(numbers, meter)
    admission = Admission(registry, settings, numbers, meter, local, quarantines.bars)
    worker_check = WorkerCheck(registry, lambda: director.last_workers, lambda address: director.is_reachable(address))
    hangups = Hangups(registry, notebook, meter, worker_check)
    lost_calls, judge = LostCalls(registry, meter), CulpritJudge(registry, meter, settings.culprit_retries)
    director = Director(registry, settings, numbers, meter, judge)
    busy_prompt, music = read_busy_prompt(settings.busy_wav), Music(read_hold_prompt(settings.hold_wav))
    attaching = Attaching(
        registry,
        lambda: director.last_workers,
        director.is_reachable,
        notebook,
        meter,
        judge,
        Recordings(music, read_apology_prompt(settings.apology_wav)),
        settings.lost_for_ms / 1000,
    )
    line = Line(registry, settings, numbers, meter, quarantines.bars)
    holding = Holding(line, attaching, registry, notebook, meter, music, busy_prompt)
    streams = Streams(director, registry, notebook, meter, attaching, holding, busy_prompt, lost_calls)
    webhooks = Webhooks(admission, hangups, registry, notebook, meter, tracer, settings.webhook_keys)
    api = Api(registry, meter, settings.api_token.get_secret_value(), source)
    stream_path = urlsplit(settings.public_wss_url).path.rstrip("/")
    door = Door(settings.allowed_networks, settings.proxy_networks, Failures(settings.failures_per_minute), meter)
    is_relayed = settings.media_path is MediaPath.RELAYED
    route = RouteEndpoint(director, lost_calls, stream_path, public_port or settings.port, is_relayed=is_relayed)
    details = lambda: {"gateway_id": gateway_id, "legs": streams.open_legs}  # noqa: E731
    return Gateway(
        gateway_id=gateway_id,
        registry=registry,
        meter=meter,
        health=health,
        notebook=notebook,
        lost_calls=lost_calls,
        hangups=hangups,
        local=local,
        director=director,
        streams=streams,
        line=line,
        quarantines=quarantines,
        side_tasks=SideTasks(health),
        settings=settings,
        public=_app(
            [*webhooks.routes(), WebSocketRoute(stream_path + "/{token}", streams.take)],
            [Middleware(Doorkeeper, door=door)],
        ),
        internal=_app(
            [
                # nginx makes an error of a 429: how often strangers may fail is its own business there
                Route("/route", route.take, middleware=[Middleware(Doorkeeper, door=door, limits_failures=False)]),
                *health_routes(health, meter, details),
                *api.routes(),
            ]
        ),
        metrics_address=metrics_address,
    )


def _app(routes: Sequence[BaseRoute], middleware: Sequence[Middleware] = ()) -> Starlette:
    app = Starlette(routes=routes, middleware=middleware)
    app.router.redirect_slashes = False  # a redirect would name whatever Host the client sent
    return app


def warn_of_formats(numbers: Numbers) -> None:
    """Say once, at start, what a number's format costs, if it is not the trunk's own."""
    log = get_logger(__name__)
    for number, plan in {"default": numbers.default, **numbers.by_number}.items():
        if cost := cost_of(plan.format):
            log.warning("format costs more than PCMA 8000", number=number, format=str(plan.format.codec), cost=cost)


def cost_of(format: AudioFormat) -> str:
    """What a format costs against PCMA 8000, or nothing."""
    if format.codec is Codec.PCMU:
        return "the trunk is A-law: the carrier converts every frame both ways, and nothing is gained"
    if format.sample_rate > 8000:
        times = format.frame_bytes // AudioFormat().frame_bytes
        return f"the trunk is 8 kHz: the carrier only upsamples; {times} times the bytes, and recognition is no better"
    return ""
