"""Deepgram's live recognition: `/v1/listen`."""

import asyncio
import json
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

from tests.fakes.faults import Behaviour
from tests.fakes.tones import recognise

LOUD = 0.02
ENDPOINTING_S = 0.5  # of silence after speech: a final result without being asked


class Listening:
    """One connection: audio in, results out."""

    def __init__(self, socket: web.WebSocketResponse, behaviour: Behaviour, rate: int, interim: bool) -> None:
        self._socket = socket
        self._behaviour = behaviour
        self._rate = rate
        self._interim = interim
        self._audio = bytearray()
        self._speech_s = 0.0
        self._silence_s = 0.0
        self._told_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    def hear(self, pcm: bytes) -> None:
        """Audio, as it comes."""
        samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2").astype(np.float64) / 32768
        seconds = len(samples) / self._rate
        is_loud = len(samples) > 0 and float(np.sqrt(np.mean(samples**2))) > LOUD
        if is_loud:
            self._audio += pcm
            self._speech_s += seconds
            self._silence_s = 0
            if self._interim and self._speech_s - self._told_s > 0.4:
                self._told_s = self._speech_s
                self._later(self._recognise(), is_final=False)
        elif self._speech_s:
            self._silence_s += seconds
            if self._silence_s >= ENDPOINTING_S:
                self.finish(from_finalize=False)

    def finish(self, *, from_finalize: bool) -> None:
        """Say what was heard since the last final result."""
        text = self._recognise() if self._speech_s else ""
        self._audio.clear()
        self._speech_s = self._silence_s = self._told_s = 0
        self._later(text, is_final=True, from_finalize=from_finalize)

    def _recognise(self) -> str:
        return recognise(bytes(self._audio), self._rate) or self._behaviour.heard

    async def stop(self) -> None:
        """Forget what has not been said yet."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _later(self, text: str, *, is_final: bool, from_finalize: bool = False) -> None:
        if text or from_finalize:
            task = asyncio.create_task(self._tell(result(text, is_final, from_finalize)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell(self, message: dict[str, Any]) -> None:
        await self._behaviour.think()
        if not self._socket.closed:
            await self._socket.send_json(message)


def result(text: str, is_final: bool, from_finalize: bool) -> dict[str, Any]:
    """A Results message as Deepgram writes it."""
    words = [
        {"word": word, "start": 0.3 * i, "end": 0.3 * i + 0.3, "confidence": 0.99}
        for i, word in enumerate(text.split())
    ]
    return {
        "type": "Results",
        "channel_index": [0, 1],
        "duration": 1.0,
        "start": 0.0,
        "is_final": is_final,
        "speech_final": is_final and bool(text),
        "from_finalize": from_finalize,
        "channel": {"alternatives": [{"transcript": text, "confidence": 0.99 if text else 0.0, "words": words}]},
        "metadata": {
            "request_id": "00000000-0000-0000-0000-000000000000",
            "model_uuid": "00000000-0000-0000-0000-000000000000",
            "model_info": {"name": "fake", "version": "1", "arch": "fake"},
        },
    }


async def listen(request: web.Request, behaviour: Behaviour) -> web.StreamResponse:
    """`GET /v1/listen`, upgraded."""
    if refusal := await behaviour.refuse():
        return refusal
    if not request.headers.get("Authorization", "").startswith("Token "):
        return web.json_response({"err_code": "INVALID_AUTH"}, status=401)
    if request.query.get("encoding") != "linear16":
        return web.json_response({"err_code": "Bad Request"}, status=400)
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    behaviour.connections += 1
    cut = behaviour.cut_later(request)
    rate, interim = int(request.query["sample_rate"]), request.query.get("interim_results") == "true"
    listening = Listening(socket, behaviour, rate, interim)
    try:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                listening.hear(message.data)
            elif message.type is WSMsgType.TEXT:
                await _obey(json.loads(message.data)["type"], listening, socket)
    finally:
        behaviour.connections -= 1
        await listening.stop()
        if cut:
            cut.cancel()
    return socket


async def _obey(command: str, listening: Listening, socket: web.WebSocketResponse) -> None:
    match command:
        case "Finalize":
            listening.finish(from_finalize=True)
        case "CloseStream":
            await socket.close()
        case "KeepAlive":
            pass
        case _:
            await socket.send_json({"type": "Error", "description": f"unknown {command}"})
