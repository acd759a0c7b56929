"""Pipecat's own runner, as far as a bot sees it: a WebSocket, and the arguments that go with it.

And an app at the other end of the socket, which speaks and listens in Pipecat's protobuf frames.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import websockets
from pipecat.frames.frames import InputAudioRawFrame, OutputAudioRawFrame
from pipecat.runner.types import WebSocketRunnerArguments
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from shared.process.server import serve

RATE = 8000
PIECE = RATE // 50 * 2  # bytes of 20 ms


class Served:
    """One bot, and how its sessions ended."""

    def __init__(self) -> None:
        self.url = ""
        self.ended: list[BaseException | None] = []


@contextlib.asynccontextmanager
async def served(
    bot: Callable[[Any], Awaitable[None]], transport_type: str | None = "websocket"
) -> AsyncIterator[Served]:
    """The bot behind a WebSocket; without a type, Pipecat's runner finds out who calls."""
    runner = Served()

    async def session(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await bot(WebSocketRunnerArguments(websocket=websocket, transport_type=transport_type))
        except Exception as error:
            runner.ended.append(error)
            raise
        runner.ended.append(None)

    server = await serve(Starlette(routes=[WebSocketRoute("/ws", session)]), "127.0.0.1")
    runner.url = f"ws://127.0.0.1:{server.port}/ws"
    try:
        yield runner
    finally:
        await server.stop()


class App:
    """Speaks in real time, silence when there is nothing to say; keeps what it hears, and the messages that come."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self.connection = connection
        self.heard = bytearray()  # at 8 kHz
        self.messages: list[dict[str, Any]] = []
        self._serializer = ProtobufFrameSerializer(FrameSerializer.InputParams(ignore_rtvi_messages=False))
        self._to_say = bytearray()
        self._tasks = [asyncio.create_task(self._talk()), asyncio.create_task(self._listen())]

    @property
    def heard_s(self) -> float:
        return len(self.heard) / 2 / RATE

    async def say(self, pcm: bytes) -> None:
        """Say it, and return when the last of it was sent."""
        self._to_say += pcm
        while self._to_say:
            await asyncio.sleep(0.02)

    async def send(self, message: dict[str, Any]) -> None:
        """An RTVI message."""
        from pipecat.frames.frames import OutputTransportMessageFrame

        data = await self._serializer.serialize(OutputTransportMessageFrame(message=message))
        assert data is not None
        await self.connection.send(data)

    async def press(self, key: str) -> None:
        """A key, as RTVI's clients send it."""
        await self.send({"label": "rtvi-ai", "type": "dtmf", "id": key, "data": {"buttons": [key]}})

    async def hang_up(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.connection.close()

    async def _talk(self) -> None:
        next_at = asyncio.get_running_loop().time()
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                piece = bytes(self._to_say[:PIECE]).ljust(PIECE, b"\0")
                del self._to_say[:PIECE]
                # what is audio to one end is audio to the other: the protocol has one kind
                data = await self._serializer.serialize(OutputAudioRawFrame(piece, RATE, 1))
                assert data is not None
                await self.connection.send(data)
                next_at += 0.02
                await asyncio.sleep(next_at - asyncio.get_running_loop().time())

    async def _listen(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for data in self.connection:
                frame = await self._serializer.deserialize(data)
                if isinstance(frame, InputAudioRawFrame):
                    assert frame.sample_rate == RATE
                    self.heard += frame.audio
                elif message := getattr(frame, "message", None):
                    self.messages.append(message)


@contextlib.asynccontextmanager
async def an_app(url: str) -> AsyncIterator[App]:
    """An app that calls the bot, and hangs up in the end."""
    app = App(await websockets.connect(url, proxy=None))
    try:
        yield app
    finally:
        await app.hang_up()
