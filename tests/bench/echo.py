"""The least that any server pays for these calls: a bare Starlette application, no Pipecat, no VAD.

`python -m tests.bench.echo --port P`. It parses every message, looks at how loud it is, and answers with as much
audio as a bot: a greeting, a reply to each utterance, clearAudio when it is spoken into; everything at the same pace,
and in pieces as long as our worker's.
"""

import argparse
import asyncio
import audioop
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from worker.capacity.loop_lag import sample_this_loop

CHUNK_S = 0.1
GREETING_S, REPLY_S = 2.75, 3.75
LOUD_RMS = 300
ONSET_FRAMES = 5  # loud ones: somebody speaks
PAUSE_FRAMES = 40  # quiet ones: 0.8 s, and then as long as recognition, model and voice take
THINKING_S = 0.3
LEAD_S = 0.2
KEY_PLAYED = "key"  # the checkpoint that comes back for a key: a round trip can be measured


class Call:
    """One stream."""

    def __init__(self, websocket: WebSocket, stream_id: str) -> None:
        self._websocket = websocket
        self._stream_id = stream_id
        self._clears = 0
        self._loud = self._quiet = 0
        self._is_turn = False
        self._saying: asyncio.Task[None] | None = None

    def say(self, seconds: float, after_s: float = 0.0) -> None:
        self.stop()
        self._saying = asyncio.create_task(self._say(seconds, after_s))

    def stop(self) -> bool:
        """Whether there was something to stop."""
        saying, self._saying = self._saying, None
        return saying is not None and saying.cancel()

    async def _say(self, seconds: float, after_s: float) -> None:
        await asyncio.sleep(after_s)
        loop = asyncio.get_running_loop()
        began = loop.time() - LEAD_S
        for number in range(round(seconds / CHUNK_S)):
            await asyncio.sleep(began + number * CHUNK_S - loop.time())
            payload = base64.b64encode(SOUND).decode()
            media = {"payload": payload, "contentType": "audio/PCMA", "sampleRate": 8000}
            await self._send({"event": "playAudio", "media": media})
        await asyncio.sleep(LEAD_S)  # the caller's side still plays

    async def hear(self, payload: bytes) -> None:
        if audioop.rms(audioop.alaw2lin(payload, 2), 2) > LOUD_RMS:
            self._loud, self._quiet = self._loud + 1, 0
        else:
            self._quiet += 1
            if self._quiet > ONSET_FRAMES:
                self._loud = 0
        if self._loud == ONSET_FRAMES:
            self._is_turn = True
            if self.stop():
                self._clears += 1
                await self._send({"event": "clearAudio", "streamId": self._stream_id, "sequenceNumber": self._clears})
        if self._is_turn and self._quiet == PAUSE_FRAMES:
            self._is_turn = False
            self.say(REPLY_S, THINKING_S)

    async def mark(self, name: str) -> None:
        await self._send({"event": "checkpoint", "streamId": self._stream_id, "name": name})

    async def _send(self, message: dict[str, Any]) -> None:
        await self._websocket.send_text(json.dumps(message))


async def stream(websocket: WebSocket) -> None:
    """One stream, from `start` to its end."""
    await websocket.accept()
    call: Call | None = None
    try:
        while True:
            message = json.loads(await websocket.receive_text())
            match message["event"]:
                case "start":
                    call = Call(websocket, message["streamId"])
                    call.say(GREETING_S)
                case "media" if call:
                    await call.hear(base64.b64decode(message["media"]["payload"]))
                case "dtmf" if call:
                    await call.mark(KEY_PLAYED)
    except WebSocketDisconnect:
        pass
    finally:
        if call:
            call.stop()


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    sample_this_loop()
    yield


def make_app(url: str) -> Starlette:
    """The application whose streams come to `url`."""

    async def answer(request: Request) -> JSONResponse:
        await request.json()
        return JSONResponse({"stream": {"url": url, "codec": "PCMA", "sample_rate": 8000, "direction": "BOTH"}})

    async def hangup(request: Request) -> JSONResponse:
        return JSONResponse({"ok": True})

    routes = [
        Route("/webhook/answer", answer, methods=["POST"]),
        Route("/webhook/hangup", hangup, methods=["POST"]),
        WebSocketRoute("/ws", stream),
        WebSocketRoute("/ws/{token}", stream),  # as workers have it
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def tone(seconds: float) -> bytes:
    """A-law that is no silence."""
    samples = (8000 if n // 9 % 2 else -8000 for n in range(round(8000 * seconds)))
    return audioop.lin2alaw(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples), 2)


SOUND = tone(CHUNK_S)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    app = make_app(f"ws://127.0.0.1:{given.port}/ws")
    uvicorn.run(
        app, host="127.0.0.1", port=given.port, log_level="warning", loop="uvloop", ws_per_message_deflate=False
    )
