"""A little SFVoPI server in the test's own event loop: webhooks and streams on one port, each test brings its bot."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from shared.carrier.audio import tone
from shared.sfvopi.formats import PCMA_8K, AudioFormat
from shared.sfvopi.g711 import encode
from shared.sfvopi.messages import PlayAudio
from shared.sfvopi.render import render_command


class Stream:
    """The server's end of one socket. `messages` is all that came, parsed; junk as it came."""

    def __init__(self, socket: WebSocket, format: AudioFormat) -> None:
        self.socket = socket
        self.format = format
        self.messages: list[Any] = []
        self.arrived_at: list[float] = []
        self.close_code: int | None = None
        self._news = asyncio.Event()
        self._clock = asyncio.get_running_loop().time

    @property
    def stream_id(self) -> str:
        return next(m["streamId"] for m in self.messages if isinstance(m, dict) and m.get("event") == "start")

    async def read(self) -> None:
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                self.close_code = message.get("code")
                self._news.set()
                return
            text = message.get("text")
            try:
                self.messages.append(json.loads(text) if text else message.get("bytes"))
            except ValueError:
                self.messages.append(text)
            self.arrived_at.append(self._clock())
            self._news.set()

    def of(self, event: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if isinstance(m, dict) and m.get("event") == event]

    async def until(self, is_so: Callable[["Stream"], bool], limit_s: float = 5.0) -> None:
        async with asyncio.timeout(limit_s):
            while not is_so(self):
                self._news.clear()
                await self._news.wait()

    async def send(self, **message: Any) -> None:
        await self.socket.send_text(json.dumps(message))

    async def play(self, s: float, hz: float = 440, ahead_s: float = 0.1, format: AudioFormat | None = None) -> None:
        """A tone in 20 ms frames, kept `ahead_s` in front of real time."""
        format = format or self.format
        audio = encode(tone(hz, s, format.sample_rate), format)
        started = self._clock()
        for n, at in enumerate(range(0, len(audio), format.frame_bytes)):
            await self.socket.send_text(render_command(PlayAudio(audio[at : at + format.frame_bytes], format)))
            await asyncio.sleep(max(0.0, started + n * 0.02 - ahead_s - self._clock()))

    async def checkpoint(self, name: str) -> None:
        await self.send(event="checkpoint", streamId=self.stream_id, name=name)

    async def clear(self, number: int = 1) -> None:
        await self.send(event="clearAudio", streamId=self.stream_id, sequenceNumber=number)

    async def caller_speaks(self, after: int = 0) -> None:
        """Until a media message arrives that is not silence, the first `after` messages left out."""
        silence = base64.b64encode(self.format.silence * 160).decode()
        await self.until(lambda s: any(m["media"]["payload"] != silence for m in s.of("media")[after:]))


Bot = Callable[[Stream], Awaitable[None]]


async def greet(stream: Stream) -> None:
    """The simplest bot: half a second of sound, then it listens."""
    await stream.play(0.5)
    await stream.until(lambda s: s.close_code is not None, 30)


class Server:
    """Answers calls with a bot. `answers` maps a webhook's name to what it responds instead."""

    def __init__(self) -> None:
        self.format = PCMA_8K
        self.bot: Bot = greet
        self.answers: dict[str, Callable[[Request], Awaitable[Response]]] = {}
        self.refuse_with: list[int | None] = []  # HTTP status of the next upgrades; None lets one in
        self.extra_headers: dict[str, str] = {}
        self.webhooks: list[tuple[str, dict[str, Any]]] = []
        self.streams: list[Stream] = []
        self.upgrade_headers: list[dict[str, str]] = []
        self.bot_errors: list[BaseException] = []
        self.url = ""

    def hook(self, name: str) -> str:
        return f"{self.url}/hook/{name}"

    def received(self, name: str) -> list[dict[str, Any]]:
        return [fields for hook, fields in self.webhooks if hook == name]

    def stream_json(self) -> dict[str, Any]:
        return {
            "stream": {
                "url": self.url.replace("http", "ws") + "/ws/token",
                "codec": str(self.format.codec),
                "sample_rate": self.format.sample_rate,
                "extra_headers": self.extra_headers,
            }
        }

    async def webhook(self, request: Request) -> Response:
        name = request.path_params["name"]
        fields = await request.json() if request.method == "POST" else dict(request.query_params)
        self.webhooks.append((name, fields))
        if name in self.answers:
            return await self.answers[name](request)
        return JSONResponse(self.stream_json() if name in ("answer", "fallback") else {})

    async def stream(self, socket: WebSocket) -> None:
        self.upgrade_headers.append(dict(socket.headers))
        if self.refuse_with and (status := self.refuse_with.pop(0)):
            await socket.send_denial_response(Response(status_code=status))
            return
        await socket.accept()
        stream = Stream(socket, self.format)
        self.streams.append(stream)
        reader = asyncio.create_task(stream.read())
        try:
            await stream.until(lambda s: bool(s.of("start")), 2)
            await self.bot(stream)
            if stream.close_code is None:
                await socket.close(1000)
        except (WebSocketDisconnect, RuntimeError):
            pass  # the carrier has gone
        except BaseException as error:
            self.bot_errors.append(error)
            raise
        finally:
            await asyncio.wait([reader], timeout=1)
            reader.cancel()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served = Server()
    app = Starlette(
        routes=[
            Route("/hook/{name}", served.webhook, methods=["GET", "POST"]),
            WebSocketRoute("/ws/token", served.stream),
        ]
    )
    config = uvicorn.Config(
        app, port=0, log_config=None, lifespan="off", ws="websockets-sansio", timeout_graceful_shutdown=1
    )
    runner = uvicorn.Server(config)
    task = asyncio.create_task(runner.serve())
    async with asyncio.timeout(5):
        while not runner.started:
            await asyncio.sleep(0.005)
    served.url = f"http://127.0.0.1:{runner.servers[0].sockets[0].getsockname()[1]}"
    yield served
    runner.should_exit = True
    await task
