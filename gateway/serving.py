"""A gateway process from start to end: two servers, its signals, and how it leaves without cutting a call.

SIGTERM: `/readyz` says draining, so that no balancer sends more; what still comes is answered, since a refused
caller is worse than a late exit. Where its listening sockets were handed to it, it stops accepting instead: whoever
owns them runs another gateway beside it, or will. It exits when its last leg is over, or at the deadline. A second
signal or SIGINT ends legs at once, with 1001: the carrier may come back through another gateway.
"""

import asyncio
import contextlib
import resource

from gateway.app import Gateway, build
from shared.process.activation import inherited_sockets
from shared.process.own_address import address_of
from shared.process.server import Server, listen_for, serve
from shared.process.signals import Signals
from shared.registry import Registry
from shared.settings import GatewaySettings
from shared.telemetry.catalogue import TURNED_AWAY
from shared.telemetry.logs import get_logger
from shared.telemetry.traces import NO_TRACER, Tracer
from shared.version import VERSION

OTHER_FILES = 128  # the registry's pool, the internal port, logs
PING_S = 1.0  # nginx takes who is silent for seconds for gone: a caller's network may stall while nobody speaks
CUT_DEADLINE_S = 1.0  # for legs to say goodbye to both sides


async def run(settings: GatewaySettings, registry: Registry, signals: Signals, tracer: Tracer = NO_TRACER) -> None:
    """Serve until told to leave. Raises `SettingsError` for settings that show to be wrong only now."""
    log = get_logger(__name__)
    handed = inherited_sockets()
    outer = handed.get("public") or listen_for("SFVOPI_GATEWAY_PORT", settings.host, settings.port)
    with contextlib.closing(outer) as public_socket:
        inner = handed.get("internal") or listen_for(
            "SFVOPI_GATEWAY_INTERNAL_PORT", settings.internal_host, settings.internal_port
        )
        with contextlib.closing(inner):
            where = address_of(*inner.getsockname()[:2])
            port = public_socket.getsockname()[1]
            gateway = build(settings, registry, public_port=port, metrics_address=where, tracer=tracer)
            await gateway.beat()
            gateway.start_side_tasks()
            most = connections_within(settings.most_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            public = await serve(
                gateway.public,
                sock=public_socket,
                ping_s=PING_S,
                most_connections=most,
                on_too_many=lambda: gateway.meter.count(TURNED_AWAY, why="too_many_connections"),
            )
            internal = await serve(gateway.internal, sock=inner)
            gateway.health.started = True
            log.info(
                "serving",
                version=VERSION,
                gateway_id=gateway.gateway_id,
                public=f"{public.host}:{public.port}",
                internal=f"{internal.host}:{internal.port}",
                readiness=gateway.health.readiness,
                most_connections=most,
            )
            await signals.draining.wait()
            gateway.health.begin_draining()
            if "public" in handed:
                public.stop_accepting()
            if "internal" in handed:
                internal.stop_accepting()
            await _drain(gateway, signals, settings.drain_deadline_s)
            await _leave(gateway, public, internal)
    log.info("left")


def connections_within(wished: int, open_files: int) -> int:
    """Connections that a limit of open files leaves room for: a relayed stream takes two, and other things some."""
    if open_files == resource.RLIM_INFINITY:
        return wished
    return max(1, min(wished, (open_files - OTHER_FILES) // 2))


async def _drain(gateway: Gateway, signals: Signals, deadline_s: float) -> None:
    """Until the last leg is over, the deadline has passed, or somebody will not wait any longer."""
    waits = [asyncio.create_task(event.wait()) for event in (gateway.streams.idle, signals.stopping)]
    await asyncio.wait(waits, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _leave(gateway: Gateway, public: Server, internal: Server) -> None:
    if gateway.streams.open_legs:
        get_logger(__name__).warning("cutting legs", legs=gateway.streams.open_legs)
        gateway.streams.cut_all()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(gateway.streams.idle.wait(), CUT_DEADLINE_S)
    await public.stop()
    await gateway.close()
    await internal.stop()
