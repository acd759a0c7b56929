"""The server around uvicorn, with real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx2
import pytest
import websockets
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

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


@pytest.mark.parametrize("size", [1, 3, 7, 50, 1000, 100_000])
async def test_a_listener_hears_the_same_however_the_bytes_come(listening: tuple[Listening, str], size: int) -> None:
    """The server knows frames itself; `websockets` makes these, and reads what is answered."""
    app, url = listening
    app.begin.set()
    frames: list[tuple[Opcode, bytes, bool]] = []
    expected: list[object] = []
    for number in range(30):
        text = f"{number} " + "ä" * (number * 9)
        frames.append((Opcode.TEXT, text.encode(), True))
        expected.append(text)
        if number % 5 == 1:
            frames += [(Opcode.TEXT, b"frag", False), (Opcode.PING, b"!", True), (Opcode.CONT, b"ment", True)]
            expected.append("fragment")
        if number % 7 == 2:
            frames.append((Opcode.BINARY, b"bytes", True))
            expected.append(b"bytes")
    data = b"".join(Frame(kind, payload, fin).serialize(mask=True) for kind, payload, fin in frames)
    data += Frame(Opcode.CLOSE, Close(1000, "").serialize()).serialize(mask=True)
    host, port = urlsplit(url).hostname, urlsplit(url).port
    client = ClientProtocol(parse_uri(url))
    client.send_request(client.connect())
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.writelines(client.data_to_send())
        while client.state is State.CONNECTING:
            client.receive_data(await reader.read(4096))
        for at in range(0, len(data), size):
            writer.write(data[at : at + size])
            await asyncio.sleep(0)
        assert await heard(app, len(expected)) == expected
        pings = sum(kind is Opcode.PING for kind, _, _ in frames)
        answers: list[object] = []
        async with asyncio.timeout(5):
            while len(answers) < pings + 1:
                client.receive_data(await reader.read(4096))
                answers += [event.opcode for event in client.events_received() if isinstance(event, Frame)]
        assert answers == [*[Opcode.PONG] * pings, Opcode.CLOSE]
    finally:
        writer.close()


async def test_a_text_within_a_fragmented_one_ends_the_stream(listening: tuple[Listening, str]) -> None:
    app, url = listening
    app.begin.set()
    async with websockets.connect(url) as stream:
        await stream.send("before")
        await heard(app, 1)
        for payload, fin in ((b"frag", False), (b"another", True)):
            stream.transport.write(Frame(Opcode.TEXT, payload, fin).serialize(mask=True))
        async with asyncio.timeout(5):
            await stream.wait_closed()
        assert stream.close_code == 1002
    assert app.heard == ["before"]


async def test_what_is_said_at_once_arrives_in_order_and_nothing_is_said_to_a_closed_stream() -> None:
    said = [f"{length} " + "ä" * length for length in (0, 1, 60, 61, 1000, 40_000)]
    results: list[bool] = []
    is_over = asyncio.Event()

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        say = websocket.scope["state"]["say"]
        for text in said:
            if not say(text):  # the peer is slow
                await websocket.send_text(text)
        await websocket.send_text("the long way")
        await websocket.close()
        results.append(say("too late"))
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass
        results.append(say("far too late"))
        is_over.set()

    server = await serve(Starlette(routes=[WebSocketRoute("/", talk)]), "127.0.0.1", 0)
    async with websockets.connect(f"ws://127.0.0.1:{server.port}/") as stream:
        assert [await stream.recv() for _ in range(len(said) + 1)] == [*said, "the long way"]
        with pytest.raises(websockets.ConnectionClosedOK):
            await stream.recv()
    async with asyncio.timeout(5):
        await is_over.wait()
    await server.stop()
    assert results == [False, False]
