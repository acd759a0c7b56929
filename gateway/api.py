"""The internal API, for `sfvopi` and operators: calls, timelines, workers, the fleet. JSON, with a bearer token."""

import functools
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.fields import read_fields
from shared.calls.outcome import Reason
from shared.calls.timeline import TimelineEvent
from shared.fleet.quarantine import Quarantine, is_in_force, kept_worker
from shared.fleet.worker import Order, WorkerState, WorkerView
from shared.process.access import may_use_api
from shared.registry import Registry, RegistryAway, TimelineEntry
from shared.registry.contract import Exposed
from shared.registry.endings import end_call
from shared.registry.settling import settling_ms
from shared.sfvopi.errors import WebhookRejected
from shared.telemetry.catalogue import CALLS, REGISTRY_ERRORS
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter

MOST_CALLS = 1000
FORGETFUL_MS = 10_000  # after Redis was started empty: slots are being told anew
RETRY_SOON = {"Retry-After": "1"}

Handler = Callable[[Request], Awaitable[Response]]


class BadQuery(Exception):
    """A query parameter that cannot be used; the message says which."""


class Api:
    """The routes under `/api`."""

    def __init__(self, registry: Registry, meter: Meter, api_token: str, source: str) -> None:
        self._registry = registry
        self._meter = meter
        self._token = api_token
        self._source = source
        self._log = get_logger(__name__)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/calls", self._guarded(self.calls)),
            Route("/api/calls/{call_id}", self._guarded(self.call)),
            Route("/api/calls/{call_id}/timeline", self._guarded(self.timeline)),
            Route("/api/calls/{call_id}/end", self._guarded(self.end), methods=["POST"]),
            Route("/api/workers", self._guarded(self.workers)),
            Route("/api/workers/{worker_id}/drain", self._guarded(self.drain), methods=["POST"]),
            Route("/api/quarantine", self._guarded(self.quarantine)),
            Route("/api/bots/{bot}/release", self._guarded(self.release), methods=["POST"]),
            Route("/api/fleet", self._guarded(self.fleet)),
            Route("/api/demand", self._guarded(self.demand)),
            Route("/api/targets", self._guarded(self.targets)),
        ]

    def _guarded(self, handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def guarded(request: Request) -> Response:
            if not may_use_api(request, self._token):
                return _error(401, "a bearer token is needed (SFVOPI_API_TOKEN)", {"WWW-Authenticate": "Bearer"})
            try:
                return await handler(request)
            except BadQuery as bad:
                return _error(400, str(bad))
            except RegistryAway:
                self._meter.count(REGISTRY_ERRORS)
                return _error(503, "the registry is away", RETRY_SOON)

        return guarded

    async def calls(self, request: Request) -> Response:
        limit = _number(request, "limit", 50, MOST_CALLS)
        return JSONResponse({"calls": [record.to_dict() for record in await self._registry.recent_calls(limit)]})

    async def call(self, request: Request) -> Response:
        call_id = request.path_params["call_id"]
        record = await self._registry.get(call_id)
        if record is None:
            return _unknown_call()
        timeline = await self._registry.timeline(call_id)
        return JSONResponse({"call": record.to_dict(), "timeline": [_entry(entry) for entry in timeline]})

    async def timeline(self, request: Request) -> Response:
        call_id = request.path_params["call_id"]
        after = _number(request, "after", 0, 10**9)
        entries = await self._registry.timeline(call_id, after)
        return JSONResponse({"timeline": [_entry(entry) for entry in entries], "next": after + len(entries)})

    async def end(self, request: Request) -> Response:
        call_id = request.path_params["call_id"]
        if await self._registry.get(call_id) is None:
            return _unknown_call()
        ended = await end_call(self._registry, call_id, Reason.OPERATOR)
        if ended.moved and ended.record and ended.record.result:
            self._meter.count(CALLS, result=ended.record.result, reason=Reason.OPERATOR)
            data = {"reason": str(Reason.OPERATOR), "result": str(ended.record.result)}
            entry = TimelineEntry(self._registry.now_ms(), self._source, TimelineEvent.ENDED, data)
            await self._registry.note(call_id, [entry])
            if ended.record.worker_id:
                await self._registry.nudge(ended.record.worker_id, json.dumps({"call_id": call_id}))
        self._log.info("call ended by an operator", call_id=call_id, ended=ended.moved)
        return JSONResponse({"ended": ended.moved})

    async def workers(self, _: Request) -> Response:
        now_ms = self._registry.now_ms()
        return JSONResponse({"workers": [_worker(view, now_ms) for view in await self._registry.workers()]})

    async def drain(self, request: Request) -> Response:
        """Body: {"handover": bool}, or none. The order stands in the registry; the nudge makes it heard sooner."""
        order = Order.HAND_OVER if await _handover_is_asked(request) else Order.DRAIN
        now_ms = self._registry.now_ms()
        views = {view.record.worker_id: view for view in await self._registry.workers()}
        view = views.get(request.path_params["worker_id"])
        if view is None:
            return _error(404, "no such worker")
        if not view.is_fresh(now_ms):
            return _error(409, "the worker is silent: there is nobody to drain")
        await self._registry.give_order(view.record, order)
        await self._registry.nudge(view.record.worker_id, json.dumps({"order": str(order)}))
        self._log.info("worker is told to drain by an operator", worker_id=view.record.worker_id, order=str(order))
        return JSONResponse({"order": str(order), "worker": _worker(view, now_ms)})

    async def quarantine(self, _: Request) -> Response:
        """Bots whose new calls are kept from workers that have their bad builds; those without such workers are not."""
        told, views = await self._registry.quarantined(), await self._registry.workers()
        return JSONResponse({"quarantined": quarantine_of(told, views, self._registry.now_ms())})

    async def release(self, request: Request) -> Response:
        """A bot is let in again, whatever it did."""
        bot = request.path_params["bot"]
        by = request.client.host if request.client else ""
        is_released = await self._registry.release_bot(bot)
        self._log.warning("bot is released by an operator", bot=bot, was_quarantined=is_released, by=by)
        return JSONResponse({"bot": bot, "released": is_released})

    async def fleet(self, _: Request) -> Response:
        waiting = len(await self._registry.keep_line([], 0))
        return JSONResponse(fleet_of(await self._registry.workers(), self._registry.now_ms(), waiting))

    async def demand(self, _: Request) -> Response:
        """For autoscalers: how many calls want a worker. No figure rather than a wrong one, which would scale down."""
        since_ms = await self._registry.since_ms()
        now_ms = self._registry.now_ms()
        if not since_ms or settling_ms(since_ms, FORGETFUL_MS, now_ms):
            return _error(503, "the registry has just begun: not every worker has told of its calls", RETRY_SOON)
        waiting = len(await self._registry.keep_line([], 0))
        return JSONResponse({"calls": demand_of(await self._registry.workers(), now_ms, waiting)})

    async def targets(self, _: Request) -> Response:
        """Where Prometheus finds metrics. An error while the registry is away: it keeps what it knew."""
        views, exposed = await self._registry.workers(), await self._registry.exposed()
        return JSONResponse(targets_of(views, exposed, self._registry.now_ms()))


def targets_of(views: list[WorkerView], exposed: list[Exposed], now_ms: int) -> list[dict[str, Any]]:
    """Every process of the fleet that shows metrics, as Prometheus' HTTP service discovery wants it."""
    workers = [Exposed("worker", v.record.worker_id, v.record.address) for v in views if v.is_fresh(now_ms)]
    return [
        {"targets": [each.address], "labels": {"component": each.component, "process": each.process_id}}
        for each in [*exposed, *workers]
    ]


def fleet_of(views: list[WorkerView], now_ms: int, waiting: int) -> dict[str, int]:
    """The fleet in figures. `live_calls` counts calls that hold a slot; only serving workers offer capacity.

    `free` is what new calls find now, less than the capacity leaves if workers are loaded.
    """
    fresh = [view for view in views if view.is_fresh(now_ms)]
    serving = [view for view in fresh if view.record.state is WorkerState.SERVING]
    used = sum(view.used for view in fresh)
    return {
        "capacity": sum(view.record.capacity for view in serving),
        "used": used,
        "free": sum(max(0, view.record.offered - view.used) for view in serving),
        "workers": len(fresh),
        "live_calls": used,
        "drift": sum(view.record.drift for view in fresh),
        "waiting": waiting,
    }


def quarantine_of(told: list[Quarantine], views: list[WorkerView], now_ms: int) -> list[dict[str, Any]]:
    """Those that are in force, with the workers that they hold for, and the one that goes on for want of other bots."""
    kept = kept_worker(views, {one.bot: one for one in told}, now_ms)
    return [
        {
            "bot": one.bot,
            "since_ms": one.at_ms,
            "calls": list(one.calls),
            "workers": [v.record.worker_id for v in views if v.is_fresh(now_ms) and one.holds_at(v.record)],
            "kept_worker": kept,
        }
        for one in told
        if is_in_force(one, views, now_ms)
    ]


def demand_of(views: list[WorkerView], now_ms: int, waiting: int) -> int:
    """How many calls want a worker now: all that have a slot, and those in line.

    Those of draining workers as well: as one of them ends, another begins, and that one needs a serving worker. Without
    them a fleet that scales down would take the calls it is letting finish for calls that nobody makes any more.
    """
    return sum(view.used for view in views if view.is_fresh(now_ms)) + waiting


def _worker(view: WorkerView, now_ms: int) -> dict[str, Any]:
    return {
        "worker_id": view.record.worker_id,
        "address": view.record.address,
        "state": str(view.record.state),
        "capacity": view.record.capacity,
        "offers": view.record.offered,
        "used": view.used,
        "drift": view.record.drift,
        "eta_s": view.record.eta_s,
        "started_at_ms": view.record.started_at_ms,
        "version": view.record.version,
        "bots": None if view.record.bots is None else list(view.record.bots),
        "fresh": view.is_fresh(now_ms),
    }


async def _handover_is_asked(request: Request) -> bool:
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    try:
        fields = await read_fields(request) if has_body else {}
    except WebhookRejected as rejected:
        raise BadQuery(str(rejected)) from None
    handover = fields.get("handover", False)
    if not isinstance(handover, bool):
        raise BadQuery("handover must be true or false")
    return handover


def _entry(entry: TimelineEntry) -> dict[str, Any]:
    return asdict(entry)


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise BadQuery(f"{name} must be a whole number")
    return min(int(text), most)


def _unknown_call() -> Response:
    return _error(404, "no such call")


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers)
