"""The internal port: route, health, metrics, API; and that nothing of it is on the public one."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared.calls.state import CallEvent
from shared.fleet.worker import WorkerState
from shared.registry import MemoryRegistry
from shared.registry.contract import Exposed
from tests.unit.gateway.conftest import LEASE_MS

INTERNAL = [
    *("/route", "/healthz", "/readyz", "/metrics", "/api/calls", "/api/workers"),
    *("/api/fleet", "/api/demand", "/api/targets", "/api/calls/c-1"),
]


@pytest.mark.parametrize("path", INTERNAL)
async def test_nothing_internal_is_on_the_public_port(house: Any, path: str) -> None:
    assert (await house.http.get(path)).status_code == 404
    assert (await house.http.post("/api/calls/c-1/end")).status_code == 404


@pytest.mark.parametrize("path", ["/webhook/answer?call_uuid=c-1", "/ws/x"])
async def test_nothing_public_is_on_the_internal_port(house: Any, path: str) -> None:
    assert (await house.inner.get(path)).status_code == 404


async def test_the_api_wants_its_token_when_there_is_one(open_house: Any) -> None:
    house = await open_house(api_token="s3cret")
    for path in INTERNAL[4:]:
        assert (await house.inner.get(path)).status_code == 401
        assert (await house.inner.get(path, headers={"Authorization": "Bearer wrong"})).status_code == 401
        known = (await house.inner.get(path, headers={"Authorization": "Bearer s3cret"})).status_code
        assert known in ((503,) if path == "/api/demand" else (200, 404))
    assert (await house.inner.post("/api/calls/c-1/end")).status_code == 401
    assert (await house.inner.post("/api/workers/w1/drain")).status_code == 401
    assert (await house.inner.get("/healthz")).status_code == 200


async def test_calls_are_listed_newest_first_and_shown_with_their_timeline(house: Any) -> None:
    await house.start_worker()
    for n in range(3):
        await house.answer(f"c-{n}")
        await asyncio.sleep(0.002)
    calls = (await house.inner.get("/api/calls?limit=2")).json()["calls"]
    assert [call["call_id"] for call in calls] == ["c-2", "c-1"]
    assert calls[0]["state"] == "reserved"
    await house.until(lambda: len(house.registry._timelines.get("c-1", [])) == 2)
    shown = (await house.inner.get("/api/calls/c-1")).json()
    assert shown["call"]["worker_id"] == "w1"
    assert [entry["event"] for entry in shown["timeline"]] == ["webhook", "reserved"]
    assert shown["timeline"][0]["source"].startswith("gateway:")
    assert shown["timeline"][0]["data"]["webhook"] == "answer"
    followed = (await house.inner.get("/api/calls/c-1/timeline?after=1")).json()
    assert ([entry["event"] for entry in followed["timeline"]], followed["next"]) == (["reserved"], 2)
    assert (await house.inner.get("/api/calls/none")).status_code == 404


@pytest.mark.parametrize("query", ["limit=x", "limit=-1", "limit=1e9", "limit=99999999999999999999", "limit=²"])
async def test_a_query_that_cannot_be_used_is_told_so(house: Any, query: str) -> None:
    response = await house.inner.get(f"/api/calls?{query}")
    assert (response.status_code, response.json()) == (400, {"error": "limit must be a whole number"})


async def test_an_operator_ends_a_call(house: Any) -> None:
    await house.start_worker()
    await house.answer("c-1")
    await house.registry.move("c-1", CallEvent.ATTACH, {"worker_id": "w1"})
    nudges = house.registry.nudges("w1")
    nudge = asyncio.ensure_future(anext(nudges))
    await asyncio.sleep(0)
    assert (await house.inner.post("/api/calls/c-1/end")).json() == {"ended": True}
    assert "c-1" in await asyncio.wait_for(nudge, 2)
    await nudges.aclose()
    assert (await house.inner.post("/api/calls/c-1/end")).json() == {"ended": False}
    record = await house.registry.get("c-1")
    assert (record.reason, record.result) == ("operator_ended", "completed")
    assert house.metric("sfvopi_calls_total", result="completed", reason="operator_ended") == 1
    assert await house.used_slots() == 0
    assert (await house.inner.post("/api/calls/none/end")).status_code == 404
    assert await house.registry.get("none") is None
    assert (await house.inner.get("/api/calls/c-1/end")).status_code == 405


async def test_workers_and_fleet_are_shown(house: Any) -> None:
    await house.start_worker("w1", capacity=3)
    await house.start_worker("w2", capacity=5, state=WorkerState.DRAINING)
    gone = await house.start_worker("w3")
    await gone.beat(7, lease_ms=0)
    await house.answer("c-1")
    workers = (await house.inner.get("/api/workers")).json()["workers"]
    assert [(w["worker_id"], w["state"], w["capacity"], w["used"], w["fresh"]) for w in workers] == [
        ("w1", "serving", 3, 1, True),
        ("w2", "draining", 5, 0, True),
        ("w3", "serving", 7, 0, False),
    ]
    fleet = (await house.inner.get("/api/fleet")).json()
    assert fleet == {"capacity": 3, "used": 1, "free": 2, "workers": 2, "live_calls": 1, "drift": 0, "waiting": 0}


async def test_demand_counts_calls_of_draining_workers_and_those_in_line(open_house: Any, clock: Any) -> None:
    house = await open_house(registry=MemoryRegistry(clock=clock))
    serving = await house.start_worker("w1", capacity=3)
    leaving = await house.start_worker("w2", capacity=5)
    for number in range(3):
        await house.answer(f"c-{number}")
    await leaving.beat(5, WorkerState.DRAINING)
    clock.forward(20_000)
    await serving.beat(3)
    await house.registry.join_line("c-9", clock(), 10_000)
    assert (await house.inner.get("/api/demand")).json() == {"calls": 4}, "else what drains would look like no demand"
    clock.forward(LEASE_MS)
    await serving.beat(3)
    await house.registry.keep_line([], 0)
    assert (await house.inner.get("/api/demand")).json() == {"calls": 0}, "reservations and silent workers have lapsed"


async def test_demand_that_is_not_known_is_no_figure(open_house: Any, clock: Any) -> None:
    house = await open_house(registry=MemoryRegistry(clock=clock))
    for why in ("nobody has spoken yet", "spoken a moment ago"):
        unknown = await house.inner.get("/api/demand")
        assert (unknown.status_code, unknown.headers["retry-after"]) == (503, "1"), why
        worker = await house.start_worker("w1") if not house.workers else house.workers[0]
    clock.forward(10_000)
    await worker.beat(10)
    assert (await house.inner.get("/api/demand")).json() == {"calls": 0}
    house.registry.is_away = True
    away = await house.inner.get("/api/demand")
    assert (away.status_code, "calls" in away.json()) == (503, False), "0 would scale the fleet down"
    house.registry.is_away = False


async def nudged(house: Any, topic: str, asking: Any) -> tuple[Any, str]:
    """The answer to a request, and what it nudged."""
    nudges = house.registry.nudges(topic)
    nudge = asyncio.ensure_future(anext(nudges))
    await asyncio.sleep(0)
    response = await asking
    told = await asyncio.wait_for(nudge, 2)
    await nudges.aclose()
    return response, told


@pytest.mark.parametrize(
    ("body", "order"), [({}, "drain"), ({"handover": False}, "drain"), ({"handover": True}, "handover")]
)
async def test_an_operator_drains_a_worker(house: Any, body: dict[str, bool], order: str) -> None:
    await house.start_worker("w1", capacity=3)
    asking = house.inner.post("/api/workers/w1/drain", **({"json": body} if body else {}))
    response, nudge = await nudged(house, "w1", asking)
    assert (response.status_code, response.json()["order"]) == (200, order)
    assert response.json()["worker"]["worker_id"] == "w1"
    assert json.loads(nudge) == {"order": order}
    (view,) = await house.registry.workers()
    assert (await house.registry.heartbeat(view.record, [], 5_000)).order == order


async def test_a_worker_that_is_not_there_cannot_be_drained(house: Any) -> None:
    gone = await house.start_worker("w1")
    await gone.beat(7, lease_ms=0)
    assert (await house.inner.post("/api/workers/w1/drain")).status_code == 409
    assert (await house.inner.post("/api/workers/w2/drain")).status_code == 404
    assert (await house.inner.get("/api/workers/w1/drain")).status_code == 405


@pytest.mark.parametrize("body", ['{"handover": "yes"}', "[]", "{", "x" * 20_000])
async def test_an_order_that_cannot_be_read_is_refused(house: Any, body: str) -> None:
    await house.start_worker("w1")
    assert (await house.inner.post("/api/workers/w1/drain", content=body)).status_code == 400


async def test_a_loaded_worker_has_less_that_is_free(house: Any) -> None:
    await house.start_worker("w1", capacity=3)
    (view,) = await house.registry.workers()
    await house.registry.heartbeat(replace(view.record, offers=1, drift=2, eta_s=None), [], 60_000)
    (worker,) = (await house.inner.get("/api/workers")).json()["workers"]
    assert (worker["capacity"], worker["offers"], worker["drift"], worker["eta_s"]) == (3, 1, 2, None)
    fleet = (await house.inner.get("/api/fleet")).json()
    assert (fleet["capacity"], fleet["free"], fleet["drift"]) == (3, 1, 2)


async def test_with_the_registry_away_the_api_says_so_and_readiness_too(open_house: Any) -> None:
    house = await open_house(heartbeat_s=0.02)
    assert (await house.inner.get("/readyz")).status_code == 200
    with capture_logs() as lines:
        house.registry.is_away = True
        await house.until(lambda: house.metric("sfvopi_registry_errors_total") > 2)
    assert [line["event"] for line in lines] == ["registry is away; calls are placed from our share"], "once"
    assert (await house.inner.get("/api/calls")).status_code == 503
    await house.until(lambda: house.gateway.health.registry_away)
    ready = await house.inner.get("/readyz")
    assert (ready.status_code, ready.json()["readiness"]) == (503, "registry_away")
    assert (await house.inner.get("/healthz")).status_code == 200
    house.registry.is_away = False
    await house.until(lambda: not house.gateway.health.registry_away)
    assert (await house.inner.get("/readyz")).json()["legs"] == 0


async def route(house: Any, uri: str) -> Any:
    return await house.inner.get("/route", headers={"X-Original-URI": uri})


async def test_route_names_the_worker_burns_nothing_and_may_be_asked_twice(house: Any) -> None:
    worker = await house.start_worker("w1")
    url = (await house.answer("c-1")).url
    await asyncio.sleep(0.05)
    before = (await house.registry.get("c-1"), await house.timeline("c-1"), await house.used_slots())
    for _ in range(3):
        response = await route(house, url.split(str(house.public.port))[1])
        assert (response.status_code, response.headers["x-worker"]) == (204, f"127.0.0.1:{worker.server.port}")
    assert before == (await house.registry.get("c-1"), await house.timeline("c-1"), await house.used_slots())
    assert house.metric("sfvopi_routes_total", result="routed") == 3


async def test_route_refuses_with_the_status_that_the_carrier_shall_see(house: Any) -> None:
    worker = await house.start_worker("w1")
    path = (await house.answer("c-1")).url.split(str(house.public.port))[1]
    assert (await route(house, "/ws/forged")).status_code == 401
    assert (await route(house, "/other/x")).status_code == 404
    assert (await route(house, "")).status_code == 404
    assert (await route(house, "//[")).status_code == 404, "was read as a broken IPv6 address, and answered with 500"
    assert (await house.inner.get("/route")).status_code == 404
    assert (await route(house, path + "?x=1")).status_code == 204
    await house.registry.remove_worker(worker.worker_id)
    full = await route(house, path)
    assert (full.status_code, full.headers["retry-after"]) == (503, "1")
    await house.post("hangup", {"call_uuid": "c-1", "call_status": "COMPLETED"})
    assert (await route(house, path)).status_code == 403


async def test_route_sends_a_busy_message_to_the_gateway_itself(house: Any) -> None:
    path = (await house.answer("c-1", "fallback")).url.split(str(house.public.port))[1]
    response = await route(house, path)
    assert (response.status_code, response.headers["x-worker"]) == (204, f"127.0.0.1:{house.public.port}")


async def test_prometheus_finds_every_process_of_the_fleet(house: Any) -> None:
    await house.start_worker()
    await house.registry.expose(Exposed("gateway", "g1", "10.0.0.2:9000"), 60_000)
    found = await house.inner.get("/api/targets")
    assert found.headers["content-type"] == "application/json"
    assert [(each["labels"]["component"], each["labels"]["process"]) for each in found.json()] == [
        ("gateway", "g1"),
        ("worker", "w1"),
    ]
    assert found.json()[0]["targets"] == ["10.0.0.2:9000"]
    house.registry.is_away = True
    assert (await house.inner.get("/api/targets")).status_code == 503, "an empty list would make it forget them"
