"""OpenAI's Realtime API: `/v1/realtime`. It notices speech by its loudness, and answers as the fake model does."""

import asyncio
import base64
import json
import uuid
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

from tests.fakes.faults import Behaviour
from tests.fakes.openai import answer, follow
from tests.fakes.tones import recognise, voice

RATE = 24000
LOUD = 0.02
PAUSE_S = 0.5  # of silence, which ends a turn
PIECE_BYTES = RATE // 10 * 2


class Session:
    """One connection: events in, events out."""

    def __init__(self, socket: web.WebSocketResponse, behaviour: Behaviour) -> None:
        self._socket = socket
        self._behaviour = behaviour
        self._messages: list[dict[str, Any]] = []
        self._tools: list[dict[str, Any]] = []
        self._speech = bytearray()
        self._silence_s = 0.0
        self._answering: asyncio.Task[None] | None = None

    async def take(self, event: dict[str, Any]) -> None:
        """One event of the client's."""
        match event["type"]:
            case "session.update":
                self._tools = [{"function": tool} for tool in event["session"].get("tools") or []]
                await self.tell("session.updated", session={})
            case "conversation.item.create":
                await self._remember(event["item"])
            case "input_audio_buffer.append":
                await self._hear(base64.b64decode(event["audio"]))
            case "response.create":
                self._answer()

    async def tell(self, kind: str, **fields: Any) -> None:
        if not self._socket.closed:
            await self._socket.send_json({"event_id": uuid.uuid4().hex, "type": kind, **fields})

    async def close(self) -> None:
        if self._answering:
            self._answering.cancel()
            await asyncio.gather(self._answering, return_exceptions=True)

    async def _remember(self, item: dict[str, Any]) -> None:
        if item["type"] == "function_call_output":
            self._messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]})
        else:
            text = " ".join(part.get("text") or "" for part in item.get("content") or [])
            self._messages.append({"role": item["role"], "content": text})
        await self.tell("conversation.item.added", item=item)

    async def _hear(self, pcm: bytes) -> None:
        samples = np.frombuffer(pcm, "<i2").astype(np.float64) / 32768
        is_loud = len(samples) > 0 and float(np.sqrt(np.mean(samples**2))) > LOUD
        if is_loud:
            if not self._speech:
                await self.tell("input_audio_buffer.speech_started", audio_start_ms=0, item_id="heard")
                await self.close()
            self._speech += pcm
            self._silence_s = 0.0
        elif self._speech:
            self._silence_s += len(samples) / RATE
            if self._silence_s >= PAUSE_S:
                await self._turn_is_over()

    async def _turn_is_over(self) -> None:
        text = recognise(bytes(self._speech), RATE) or self._behaviour.heard
        self._speech.clear()
        self._messages.append({"role": "user", "content": text})
        await self.tell("input_audio_buffer.speech_stopped", audio_end_ms=0, item_id="heard")
        item = {"id": uuid.uuid4().hex, "type": "message", "role": "user", "content": []}
        await self.tell("conversation.item.added", item=item)
        await self.tell(
            "conversation.item.input_audio_transcription.completed",
            item_id=item["id"],
            content_index=0,
            transcript=text,
        )
        self._answer()

    def _answer(self) -> None:
        self._answering = asyncio.create_task(self._respond())

    async def _respond(self) -> None:
        await self._behaviour.think()
        body = {"messages": self._messages, "tools": self._tools}
        text, tool = follow(self._behaviour.rules, body) or answer(body)
        response = {"id": uuid.uuid4().hex, "object": "realtime.response", "status": "completed", "output": []}
        await self.tell("response.created", response={**response, "status": "in_progress"})
        await (self._call(response["id"], tool) if tool else self._say(response["id"], text))
        await self.tell("response.done", response=response)

    async def _call(self, response_id: str, tool: dict[str, Any]) -> None:
        call_id, arguments = uuid.uuid4().hex, json.dumps(tool["arguments"])
        function = {"name": tool["name"], "arguments": arguments}
        self._messages.append({"role": "assistant", "tool_calls": [{"id": call_id, "function": function}]})
        item = {"id": uuid.uuid4().hex, "type": "function_call", "call_id": call_id, "name": tool["name"]}
        await self.tell("conversation.item.added", item=item)
        where = {"response_id": response_id, "item_id": item["id"], "output_index": 0, "call_id": call_id}
        await self.tell("response.function_call_arguments.done", **where, arguments=arguments)

    async def _say(self, response_id: str, text: str) -> None:
        self._messages.append({"role": "assistant", "content": text})
        item = {"id": uuid.uuid4().hex, "type": "message", "role": "assistant", "content": []}
        await self.tell("conversation.item.added", item=item)
        where = {"response_id": response_id, "item_id": item["id"], "output_index": 0, "content_index": 0}
        await self.tell("response.output_audio_transcript.delta", **where, delta=text)
        pcm = voice(text, RATE, self._behaviour.seconds_per_word)
        for at in range(0, len(pcm), PIECE_BYTES):
            delta = base64.b64encode(pcm[at : at + PIECE_BYTES]).decode()
            await self.tell("response.output_audio.delta", **where, delta=delta)


async def converse(request: web.Request, behaviour: Behaviour) -> web.StreamResponse:
    """`GET /v1/realtime`, upgraded."""
    if refusal := await behaviour.refuse():
        return refusal
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    session = Session(socket, behaviour)
    behaviour.connections += 1
    try:
        await session.tell("session.created", session={})
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await session.take(json.loads(message.data))
    finally:
        behaviour.connections -= 1
        await session.close()
    return socket
