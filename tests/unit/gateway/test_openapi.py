"""gateway/openapi.yaml says what the routes are and what they answer; schemathesis asks them whatever may be asked."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, seed, settings
from schemathesis import checks
from starlette.routing import Route

from gateway.app import Gateway, build
from shared.calls.outcome import Result
from shared.calls.state import CallEvent, CallState
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.process.server import serve
from shared.registry import MemoryRegistry, TimelineEntry
from shared.settings import GatewaySettings
from shared.sfvopi.formats import SAMPLE_RATES, Codec
from shared.telemetry.catalogue import WEBHOOKS
from shared.telemetry.health import Readiness
from tests.documents import ROOT

SECRET, API_TOKEN, KNOWN = "the-webhook-secret", "the-api-token", "a-known-call"
FILE = ROOT / "gateway" / "openapi.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text())
EXAMPLES = 15  # for each operation


def make_gateway(**more: Any) -> Gateway:
    given = {
        "public_wss_url": "wss://x.example/ws",
        "token_secrets": "a secret for tests",
        "webhook_secrets": SECRET,
        "api_token": API_TOKEN,
        "failures_per_minute": 0,
    }
    return build(GatewaySettings(**(given | more)), MemoryRegistry())


# -- the file and the code


def routes(gateway: Gateway) -> Iterator[tuple[str, str]]:
    """Path and method of every HTTP route."""
    for app in (gateway.public, gateway.internal):
        for route in app.routes:
            if not isinstance(route, Route):
                continue
            names = WEBHOOKS if "{name}" in route.path else ("",)
            for name in names:
                for method in (route.methods or set()) - {"HEAD"}:
                    yield route.path.replace("{name}", name), method


def test_every_route_is_in_the_file_and_nothing_else_is() -> None:
    told = {
        (path, method.upper())
        for path, item in DOCUMENT["paths"].items()
        for method in item
        if method in ("get", "post", "put", "delete", "patch")
    }
    assert told == set(routes(make_gateway()))


def test_its_closed_sets_are_those_of_the_code() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    call, stream = schemas["Call"]["properties"], schemas["StreamAnswer"]["properties"]["stream"]["properties"]
    assert set(call["state"]["enum"]) == set(CallState)
    assert set(call["result"]["enum"]) == {*Result, ""}
    assert set(stream["codec"]["enum"]) == set(Codec)
    assert set(stream["sample_rate"]["enum"]) == set().union(*SAMPLE_RATES.values())
    assert set(schemas["Readiness"]["properties"]["readiness"]["enum"]) == set(Readiness)
    assert set(schemas["Worker"]["properties"]["state"]["enum"]) == set(WorkerState)


# -- what is answered


class Served:
    """A gateway on real sockets in a thread of its own: schemathesis asks from this one, and waits."""

    def __init__(self) -> None:
        self.gateway = make_gateway()
        self.base: dict[str, str] = {}
        self.registry: MemoryRegistry = self.gateway.registry  # type: ignore[assignment]
        self._is_up, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._over = asyncio.Event()

    def __enter__(self) -> "Served":
        self._thread.start()
        assert self._is_up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(15)
        self._loop.close()

    async def _serve(self) -> None:
        await self.registry.heartbeat(WorkerRecord("w1", "127.0.0.1:9", WorkerState.SERVING, 40), [], 3_600_000)
        public = await serve(self.gateway.public, "127.0.0.1", 0)
        internal = await serve(self.gateway.internal, "127.0.0.1", 0)
        self.base = {tag: f"http://127.0.0.1:{at.port}" for tag, at in (("public", public), ("internal", internal))}
        self.gateway.start_side_tasks()
        self.gateway.health.started = True
        await self.registry.move(KNOWN, CallEvent.RING, {"to_number": "+918000000001"})
        await self.registry.note(KNOWN, [TimelineEntry(1, "test", "webhook", {"webhook": "ring"})])
        self._is_up.set()
        await self._over.wait()
        await public.stop()
        await internal.stop()
        await self.gateway.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served() as served:
        yield served


@schemathesis.hook
def map_path_parameters(_: Any, parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Behind the right secret, and at every other time a call that is there: strangers are looked at elsewhere."""
    parameters = dict(parameters or {})
    if "secret" in parameters:
        parameters["secret"] = SECRET
    if len(str(parameters.get("call_id", ""))) % 2:
        parameters["call_id"] = KNOWN
    if len(str(parameters.get("worker_id", ""))) % 2:
        parameters["worker_id"] = "w1"
    return parameters


SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


@SCHEMA.parametrize()
@seed(3)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_whatever_is_asked_is_answered_as_the_file_says(case: Any, served: Served) -> None:
    [tag] = case.operation.tags
    headers = {"Authorization": f"Bearer {API_TOKEN}"} if case.path.startswith("/api") else {}
    case.call_and_validate(
        base_url=served.base[tag],
        headers=headers,
        checks=[
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_headers_conformance,
            checks.response_schema_conformance,
        ],
        timeout=10,
    )


PATHS = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item if method in ("get", "post")]


@pytest.mark.parametrize(("path", "method"), PATHS)
@pytest.mark.parametrize("what", ["the registry is away", "no secret", "fields of no use"])
async def test_refusals_are_those_of_the_file(path: str, method: str, what: str, served: Served) -> None:
    operation = DOCUMENT["paths"][path][method]
    [tag] = operation["tags"]
    url = served.base[tag] + path.format(
        secret="wrong" if what == "no secret" else SECRET, call_id=KNOWN, worker_id="w1", bot="m:bot"
    )
    fields = {"call_uuid": "{" if what == "fields of no use" else "c-9"}
    sent = {"params": fields} if method == "get" else {"json": fields}
    headers = {} if what == "no secret" else {"Authorization": f"Bearer {API_TOKEN}"}
    served.registry.is_away = what == "the registry is away"
    try:
        async with httpx2.AsyncClient(trust_env=False) as http:
            response = await http.request(method, url, headers=headers, **sent)
    finally:
        served.registry.is_away = False
    assert str(response.status_code) in operation["responses"]
    assert response.status_code != 500
