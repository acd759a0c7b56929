"""Cartesia's voice: `/tts/websocket`."""

import asyncio
import base64
import json
from typing import Any

from aiohttp import WSMsgType, web

from tests.fakes.faults import Behaviour
from tests.fakes.tones import voice

CHUNK_S = 0.1
FASTER = 5  # than speech: a real one does not have a minute of it ready at once


class Speaking:
    """One connection with its contexts. A context speaks its texts one after another, until it is cancelled."""

    def __init__(self, socket: web.WebSocketResponse, behaviour: Behaviour) -> None:
        self._socket = socket
        self._behaviour = behaviour
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def take(self, message: dict[str, Any]) -> None:
        """A message of the client's."""
        context = message["context_id"]
        if message.get("cancel"):
            self._queues.pop(context, None)
            if task := self._tasks.pop(context, None):
                task.cancel()
            return
        if context not in self._tasks:
            self._queues[context] = asyncio.Queue()
            self._tasks[context] = asyncio.create_task(self._speak(context, self._queues[context]))
        self._queues[context].put_nowait(message)

    async def stop(self) -> None:
        """Fall silent."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _speak(self, context: str, queue: asyncio.Queue[dict[str, Any]]) -> None:
        at = 0.0
        while True:
            message = await queue.get()
            if text := message["transcript"].strip():
                await self._behaviour.think()
                if self._behaviour.fault.errs or not any(letter.isalnum() for letter in text):
                    await self._refuse(context)
                    return
                at = await self._say(context, text, message, at)
            if not message.get("continue"):
                await self._send({"type": "done", "done": True, "status_code": 200, "context_id": context})
                self._queues.pop(context, None)
                self._tasks.pop(context, None)
                return

    async def _refuse(self, context: str) -> None:
        """As for a text that holds nothing to voice."""
        error = {"type": "error", "error": "no phonemes in the transcript", "status_code": 400, "done": True}
        await self._send({**error, "context_id": context})
        self._queues.pop(context, None)
        self._tasks.pop(context, None)

    async def _say(self, context: str, text: str, message: dict[str, Any], at: float) -> float:
        form = message["output_format"]
        assert (form["container"], form["encoding"]) == ("raw", "pcm_s16le"), form
        pcm = voice(text, form["sample_rate"], self._behaviour.seconds_per_word)
        seconds = len(pcm) / 2 / form["sample_rate"]
        if message.get("add_timestamps"):
            words = text.split()
            starts = [at + seconds * i / len(words) for i in range(len(words))]
            ends = [start + seconds / len(words) for start in starts]
            stamps = {"words": words, "start": starts, "end": ends}
            await self._send({"type": "timestamps", "context_id": context, "word_timestamps": stamps})
        size = int(form["sample_rate"] * CHUNK_S) * 2
        for start in range(0, len(pcm), size):
            data = base64.b64encode(pcm[start : start + size]).decode()
            await self._send({"type": "chunk", "data": data, "done": False, "status_code": 206, "context_id": context})
            await asyncio.sleep(CHUNK_S / FASTER)
        return at + seconds

    async def _send(self, message: dict[str, Any]) -> None:
        if not self._socket.closed:
            await self._socket.send_json(message)


async def synthesise(request: web.Request, behaviour: Behaviour) -> web.StreamResponse:
    """`GET /tts/websocket`, upgraded."""
    if refusal := await behaviour.refuse():
        return refusal
    if not request.headers.get("X-API-Key"):
        return web.json_response({"error": "no key"}, status=401)
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    behaviour.connections += 1
    cut = behaviour.cut_later(request)
    speaking = Speaking(socket, behaviour)
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                speaking.take(json.loads(message.data))
    finally:
        behaviour.connections -= 1
        await speaking.stop()
        if cut:
            cut.cancel()
    return socket
