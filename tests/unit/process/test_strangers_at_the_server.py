"""What a peer can do to a server before anybody looks at what it says: floods, large heads, too many sockets."""

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from shared.process.server import Server, serve


class Place:
    """A server whose streams echo and are counted."""

    def __init__(self) -> None:
        self.server: Server
        self.received = 0
        self.turned_away = 0

    async def echo(self, websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                self.received += 1
                if message.get("text") == "hello":
                    await websocket.send_text("hello")
        except WebSocketDisconnect:
            return

    async def start(self, **options: Any) -> None:
        def too_many() -> None:
            self.turned_away += 1

        routes = [WebSocketRoute("/ws", self.echo), Route("/", lambda _: PlainTextResponse("here"))]
        self.server = await serve(Starlette(routes=routes), "127.0.0.1", 0, on_too_many=too_many, **options)
        self.url = f"ws://127.0.0.1:{self.server.port}/ws"

    async def raw(self, head: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        writer.write(head)
        return reader, writer

    async def upgraded(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A WebSocket, by hand: what is written to it is written as it is."""
        reader, writer = await self.raw(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        return reader, writer


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    place = Place()
    yield place
    await place.server.stop()


def frame(opcode: int, payload: bytes = b"", *, is_last: bool = True) -> bytes:
    """A client's frame with a mask of zeros."""
    assert len(payload) < 126
    return struct.pack("!BB4x", (0x80 if is_last else 0) | opcode, 0x80 | len(payload)) + payload


async def worst_round_trip_s(url: str, seconds: float) -> float:
    worst = 0.0
    async with websockets.connect(url, compression=None) as stream:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began_at = time.monotonic()
            await stream.send("hello")
            await stream.recv()
            worst = max(worst, time.monotonic() - began_at)
            await asyncio.sleep(0.02)
    return worst


@pytest.mark.parametrize(
    "tiny",
    [frame(1), frame(2, b"x"), frame(9, b"ping"), frame(10), frame(0, is_last=False)],
    ids=["text", "binary", "ping", "pong", "fragment"],
)
async def test_a_flood_of_tiny_frames_waits_with_its_sender_and_others_do_not_notice(place: Place, tiny: bytes) -> None:
    """Nobody bounded what a socket brings at once: 40,000 frames in one read held every call up for 140 ms."""
    await place.start()
    reader, writer = await place.upgraded()
    if tiny[0] & 0x0F == 0:
        writer.write(frame(1, b"a message that never ends", is_last=False))
    writer.write(tiny * 200_000)
    worst = await worst_round_trip_s(place.url, 2.0)
    assert worst < 0.1
    assert place.received < 1500 + 400 * 3.5 + 200 + 700, "read no faster than a call speaks, and a piece beyond"
    writer.transport.abort()
    assert reader


async def test_a_call_that_was_stalled_for_long_loses_nothing_and_waits_for_nothing(place: Place) -> None:
    await place.start()
    began_at = time.monotonic()
    async with websockets.connect(place.url, compression=None) as stream:
        for _ in range(1000):
            await stream.send("x" * 362)
        await stream.send("hello")
        await stream.recv()
    assert place.received == 1001
    assert time.monotonic() - began_at < 5.0


async def test_pings_that_nobody_takes_answers_of_pile_up_nothing(place: Place) -> None:
    await place.start()
    _, writer = await place.upgraded()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(frame(9, b"p" * 125) * 100_000)
    await asyncio.sleep(1.0)
    [connection] = place.server._server.server_state.connections
    assert connection.transport.get_write_buffer_size() < 1_000_000
    writer.transport.abort()


# -- heads


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Long: " + b"x" * 24_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(2000)) + b"\r\n",
        b"GET /" + b"x" * 24_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"x" * 24_000,
    ],
)
async def test_a_head_of_more_than_16_kib_is_refused_before_it_is_parsed(place: Place, head: bytes) -> None:
    await place.start()
    reader, writer = await place.raw(head)
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.split(b" ")[1] in (b"400", b"431")
    writer.close()


async def test_a_head_that_comes_in_drops_is_waited_for_no_longer_than_the_deadline(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.process.server.REQUEST_DEADLINE_S", 0.5)
    await place.start()
    reader, writer = await place.raw(b"GET / HTTP/1.1\r\nHost: x\r\n")

    async def drip() -> None:
        while True:
            writer.write(b"X-Slow: y\r\n")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    dripping.cancel()
    writer.transport.abort()


@pytest.mark.parametrize("more", [100, 127, 200, 1000])
async def test_an_upgrade_with_many_headers_gets_an_answer_and_no_exception(
    place: Place, more: int, caplog: pytest.LogCaptureFixture
) -> None:
    await place.start()
    headers = "".join(f"X-{n}: y\r\n" for n in range(more))
    reader, writer = await place.raw(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + headers.encode() + b"\r\n"
    )
    answer = await asyncio.wait_for(reader.read(12), 5)
    assert answer in (b"HTTP/1.1 101", b"HTTP/1.1 400", b"HTTP/1.1 431")
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
    writer.transport.abort()


# -- sockets


async def test_connections_beyond_the_most_are_cut_off_unread_and_others_stay(place: Place) -> None:
    await place.start(most_connections=3)
    async with websockets.connect(place.url, compression=None) as stream:
        idle = [await asyncio.open_connection("127.0.0.1", place.server.port) for _ in range(2)]
        for _ in range(5):
            with pytest.raises((OSError, websockets.WebSocketException, EOFError)):
                await websockets.connect(place.url, open_timeout=2)
        assert place.turned_away == 5
        await stream.send("hello")
        assert await stream.recv() == "hello"
        for _, writer in idle:
            writer.close()
        async with asyncio.timeout(5):
            while place.server.open_connections > 1:
                await asyncio.sleep(0.01)
        async with websockets.connect(place.url, compression=None):
            assert place.server.open_connections == 2
