"""A whole gateway in this process: real sockets, the in-memory registry, workers that only copy frames."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
import websockets
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.app import Gateway, build
from shared.calls.state import CallEvent
from shared.fleet.worker import WorkerRecord, WorkerState, seat_name
from shared.process.server import Server, listen, serve
from shared.registry import MemoryRegistry
from shared.settings import GatewaySettings, SettingsError
from shared.sfvopi.answer import StreamAnswer
from shared.telemetry.traces import NO_TRACER, Tracer
from shared.tokens import verify_token

SECRET = "the-signing-key"
LEASE_MS = 3_600_000


async def until(condition: Callable[[], Any], deadline_s: float = 5) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.005)


@dataclasses.dataclass(eq=False)
class WorkerStream:
    """One stream as the fake worker has it."""

    token: str
    headers: dict[str, str]
    websocket: WebSocket
    received: list[str | bytes] = dataclasses.field(default_factory=list)
    closed_with: int | None = None
    reads: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    async def send(self, text: str) -> None:
        await self.websocket.send_text(text)

    async def close(self, code: int) -> None:
        await self.websocket.close(code)


class FakeWorker:
    """A worker at the wire: takes streams as the real one does, and keeps what it is sent."""

    def __init__(self, registry: MemoryRegistry, worker_id: str) -> None:
        self.registry = registry
        self.worker_id = worker_id
        self.streams: list[WorkerStream] = []
        self.refuse_with: int | None = None
        self.attaches = True
        self.started_at_ms = 0  # a worker of this version says which start of it has a call; 0: of the version before
        self.bots: tuple[str, ...] | None = None
        self.server: Server | None = None

    async def start(self, capacity: int, state: WorkerState) -> None:
        self.server = await serve(Starlette(routes=[WebSocketRoute("/ws/{token}", self.take)]), "127.0.0.1", 0)
        await self.beat(capacity, state)

    async def beat(self, capacity: int, state: WorkerState = WorkerState.SERVING, lease_ms: int = LEASE_MS) -> None:
        assert self.server is not None
        address, start = f"127.0.0.1:{self.server.port}", self.started_at_ms
        record = WorkerRecord(self.worker_id, address, state, capacity, started_at_ms=start, bots=self.bots)
        await self.registry.heartbeat(record, [], lease_ms)

    async def take(self, websocket: WebSocket) -> None:
        if self.refuse_with:
            await websocket.send_denial_response(PlainTextResponse("no", self.refuse_with))
            return
        text = websocket.path_params["token"]
        token = verify_token(text, [SECRET], self.registry.now_ms())
        if self.attaches:
            await self.registry.occupy(token.call_id, self.worker_id, LEASE_MS)
            seat = {"seat": seat_name(self.worker_id, self.started_at_ms)} if self.started_at_ms else {}
            await self.registry.move(token.call_id, CallEvent.ATTACH, {"worker_id": self.worker_id, **seat})
        await websocket.accept()
        stream = WorkerStream(text, dict(websocket.headers), websocket)
        stream.reads.set()
        self.streams.append(stream)
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await stream.reads.wait()
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    stream.closed_with = message["code"]
                    return
                text = message.get("text")
                stream.received.append(text if text is not None else message["bytes"])


class House:
    """The gateway with its two ports, its registry and its workers."""

    def __init__(self, gateway: Gateway, registry: MemoryRegistry, public: Server, internal: Server) -> None:
        self.gateway = gateway
        self.registry = registry
        self.public = public
        self.internal = internal
        # loading the machine's certificates, for nothing here, takes longer than most of these tests
        self.http = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{public.port}", verify=False)
        self.inner = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{internal.port}", verify=False)
        self.workers: list[FakeWorker] = []
        self.until = until

    def metric(self, name: str, **labels: str) -> float:
        return self.gateway.meter.value(name, **labels)

    async def start_worker(
        self,
        worker_id: str = "w1",
        capacity: int = 10,
        state: WorkerState = WorkerState.SERVING,
        bots: tuple[str, ...] | None = None,
        started_at_ms: int = 0,
    ) -> FakeWorker:
        worker = FakeWorker(self.registry, worker_id)
        worker.started_at_ms = started_at_ms
        worker.bots = bots
        await worker.start(capacity, state)
        self.workers.append(worker)
        return worker

    async def post(self, name: str, fields: Any, secret: str = "") -> httpx2.Response:
        return await self.http.post(f"/webhook/{secret + '/' if secret else ''}{name}", json=fields)

    async def answer(self, call_uuid: str, name: str = "answer", **fields: Any) -> StreamAnswer:
        response = await self.post(name, {"call_uuid": call_uuid, "to": "+918000000001", **fields})
        assert response.status_code == 200, response.text
        return StreamAnswer.from_json(response.json())

    def connect(self, url: str, **options: Any) -> websockets.connect:
        return websockets.connect(url, compression=None, **options)

    async def status_of(self, url: str) -> int:
        """The HTTP status with which an upgrade is refused; 101 when it is not."""
        try:
            async with self.connect(url):
                return 101
        except websockets.InvalidStatus as refused:
            return refused.response.status_code

    async def timeline(self, call_id: str) -> list[str]:
        return [entry.event for entry in await self.registry.timeline(call_id)]

    async def used_slots(self) -> int:
        return sum(view.used for view in await self.registry.workers())

    async def close(self) -> None:
        await self.http.aclose()
        await self.inner.aclose()
        servers = [self.public, self.internal, *(worker.server for worker in self.workers if worker.server)]
        await asyncio.gather(*(server.stop() for server in servers))
        await self.gateway.close()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)  # no .env of a developer


@pytest.fixture
async def open_house() -> AsyncIterator[Callable[..., Any]]:
    """`await open_house(**settings)` → House."""
    houses: list[House] = []

    async def make(registry: Any = None, tracer: Tracer = NO_TRACER, **settings: Any) -> House:
        sock = listen("127.0.0.1", 0)
        port = sock.getsockname()[1]
        given = {"public_wss_url": f"ws://127.0.0.1:{port}/ws", "token_secrets": SECRET} | settings
        registry = registry or MemoryRegistry()
        try:
            gateway = build(GatewaySettings.read(**given), registry, public_port=port, tracer=tracer)
        except SettingsError:
            sock.close()
            raise
        await gateway.beat()
        gateway.start_side_tasks()
        public = await serve(gateway.public, sock=sock)
        internal = await serve(gateway.internal, "127.0.0.1", 0)
        gateway.health.started = True
        house = House(gateway, registry, public, internal)
        houses.append(house)
        return house

    yield make
    for house in houses:
        await house.close()


@pytest.fixture
async def house(open_house: Callable[..., Any]) -> House:
    return await open_house()
