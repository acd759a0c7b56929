"""`/healthz`, `/readyz`, `/metrics`: the same on every process of ours."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.telemetry.catalogue import DRAINING_SECONDS, READY
from shared.telemetry.health import Health, Readiness
from shared.telemetry.meter import Meter
from shared.version import VERSION


def health_routes(health: Health, meter: Meter, details: Callable[[], Mapping[str, Any]] = dict) -> list[Route]:
    """The three routes. `details()` is added to what `/readyz` says."""

    async def alive(_: Request) -> Response:
        return JSONResponse({"alive": True, "version": VERSION})

    async def ready(_: Request) -> Response:
        readiness = health.readiness
        body = {"readiness": str(readiness), "version": VERSION, "dead_tasks": health.dead_tasks, **details()}
        return JSONResponse(body, 200 if readiness is Readiness.READY else 503)

    async def metrics(request: Request) -> Response:
        meter.set(READY, health.readiness is Readiness.READY)
        meter.set(DRAINING_SECONDS, health.draining_s)
        exposition = meter.render(request.headers.get("accept", ""))
        return Response(exposition.body, headers={"content-type": exposition.content_type})

    return [Route("/healthz", alive), Route("/readyz", ready), Route("/metrics", metrics)]
