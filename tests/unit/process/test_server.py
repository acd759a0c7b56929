"""The server around uvicorn, with real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx2
import pytest
import websockets
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from shared.process import server as server_module
from shared.process.access import may_use_api
from shared.process.server import Server, listen, serve
from shared.telemetry.endpoints import health_routes
from shared.telemetry.health import Health
from shared.telemetry.meter import Meter


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(await websocket.receive_text())


async def send_and_receive(stream: websockets.ClientConnection, text: str) -> str | bytes:
    await stream.send(text)
    return await stream.recv()


async def secret(request: Request) -> Response:
    return PlainTextResponse("ok") if may_use_api(request, "s3cret") else PlainTextResponse("no", 401)


@pytest.fixture
async def served() -> AsyncIterator[tuple[Server, Health]]:
    health = Health()
    routes = [*health_routes(health, Meter("test")), Route("/secret", secret), WebSocketRoute("/echo", echo)]
    server = await serve(Starlette(routes=routes), "127.0.0.1", 0)
    yield server, health
    await server.stop()


async def test_a_frame_of_10_mb_closes_its_own_stream_with_1009_and_no_other(served: tuple[Server, Health]) -> None:
    url = f"ws://127.0.0.1:{served[0].port}/echo"
    async with websockets.connect(url) as bad, websockets.connect(url) as good:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await send_and_receive(bad, "x" * 10_000_000)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        await good.send("still here")
        assert await good.recv() == "still here"


async def test_deflate_is_off_even_when_offered(served: tuple[Server, Health]) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{served[0].port}/echo", compression="deflate") as stream:
        assert stream.response is not None
        assert "Sec-WebSocket-Extensions" not in stream.response.headers


async def test_a_connection_that_brings_no_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_DEADLINE_S", 0.1)
    server = await serve(Starlette(), "127.0.0.1", 0)
    silent_reader, silent_writer = await asyncio.open_connection("127.0.0.1", server.port)
    slow_reader, slow_writer = await asyncio.open_connection("127.0.0.1", server.port)
    slow_writer.write(b"GET / HTTP/1.1\r\nHost: ")
    assert await asyncio.wait_for(silent_reader.read(), 2) == b""
    assert await asyncio.wait_for(slow_reader.read(), 2) == b""
    for writer in (silent_writer, slow_writer):
        writer.close()
    async with asyncio.timeout(2):
        while server.open_connections:
            await asyncio.sleep(0.005)
    await server.stop()


async def test_no_server_header_tells_what_we_run(served: tuple[Server, Health]) -> None:
    async with httpx2.AsyncClient() as client:
        response = await client.get(f"http://127.0.0.1:{served[0].port}/healthz")
    assert response.json()["alive"] is True
    assert "server" not in response.headers


async def test_readiness_says_why_not(served: tuple[Server, Health]) -> None:
    server, health = served
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        assert (await client.get("/readyz")).status_code == 503
        health.started = True
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["readiness"]) == (200, "ready")
        health.begin_draining()
        assert (await client.get("/readyz")).json()["readiness"] == "draining"
        metrics = (await client.get("/metrics")).text
    assert "sfvopi_build_info{" in metrics
    assert "sfvopi_ready 0.0" in metrics


@pytest.mark.parametrize(
    ("header", "status"),
    [("Bearer s3cret", 200), ("bearer s3cret", 200), ("Bearer wrong", 401), ("s3cret", 401), ("", 401)],
)
async def test_the_api_wants_its_token(served: tuple[Server, Health], header: str, status: int) -> None:
    async with httpx2.AsyncClient() as client:
        response = await client.get(f"http://127.0.0.1:{served[0].port}/secret", headers={"Authorization": header})
    assert response.status_code == status


async def test_a_port_in_use_is_an_error_and_not_an_exit() -> None:
    taken = listen("127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        await serve(Starlette(), "127.0.0.1", taken.getsockname()[1])
    taken.close()


async def test_stopping_closes_open_streams(served: tuple[Server, Health]) -> None:
    server = await serve(Starlette(routes=[WebSocketRoute("/echo", echo)]), "127.0.0.1", 0)
    async with websockets.connect(f"ws://127.0.0.1:{server.port}/echo") as stream:
        await server.stop()
        with pytest.raises(websockets.ConnectionClosed):
            await stream.recv()
    assert server.open_connections == 0


class Listening:
    """An application that is told of texts as they are read, from some moment on."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.begin = asyncio.Event()
        self.code: object = None

    async def __call__(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await self.begin.wait()
        websocket.scope["state"]["listen"](self.heard.append)
        while (message := await websocket.receive())["type"] != "websocket.disconnect":
            self.heard.append(message.get("text") or message.get("bytes"))
        self.code = message["code"]


@pytest.fixture
async def listening() -> AsyncIterator[tuple[Listening, str]]:
    app = Listening()
    server = await serve(Starlette(routes=[WebSocketRoute("/", app.__call__)]), "127.0.0.1", 0)
    yield app, f"ws://127.0.0.1:{server.port}/"
    await server.stop()


async def heard(app: Listening, count: int) -> list[object]:
    async with asyncio.timeout(5):
        while len(app.heard) < count:
            await asyncio.sleep(0.005)
    return app.heard


async def test_a_listener_hears_every_text_once_and_in_order_what_came_before_it_too(
    listening: tuple[Listening, str],
) -> None:
    app, url = listening
    async with websockets.connect(url) as stream:
        for number in range(50):
            await stream.send(f"{number}")
        await asyncio.sleep(0.05)
        app.begin.set()
        for number in range(50, 200):
            await stream.send(f"{number}")
        await stream.send(["frag", "ment", "ed"])
        await stream.send(b"bytes")
        await stream.send("the last")
        assert await heard(app, 203) == [*map(str, range(200)), "fragmented", b"bytes", "the last"]


async def test_a_listener_is_not_given_what_is_no_text(listening: tuple[Listening, str]) -> None:
    app, url = listening
    app.begin.set()
    async with websockets.connect(url) as stream:
        await stream.send("before")
        await heard(app, 1)
        await stream.send(b"\xff\xfe", text=True)
        async with asyncio.timeout(5):
            await stream.wait_closed()
        assert stream.close_code == 1007
    assert app.heard == ["before"]
