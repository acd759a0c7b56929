"""ElevenLabs' voice: `/v1/text-to-speech/{voice}/multi-stream-input`."""

import asyncio
import base64
import json
from typing import Any

from aiohttp import WSMsgType, web

from tests.fakes.faults import Behaviour
from tests.fakes.tones import voice


async def synthesise(request: web.Request, behaviour: Behaviour) -> web.StreamResponse:
    """One connection with its contexts; contexts speak in the order in which their texts came."""
    if refusal := await behaviour.refuse():
        return refusal
    if not request.headers.get("xi-api-key"):
        return web.json_response({"detail": {"status": "invalid_api_key"}}, status=401)
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    behaviour.connections += 1
    cut = behaviour.cut_later(request)
    rate = int(request.query["output_format"].removeprefix("pcm_"))
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    closed: set[str] = set()
    speaker = asyncio.create_task(_speak(socket, behaviour, rate, queue, closed))
    try:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            said = json.loads(message.data)
            if said.get("close_socket"):
                break
            if said.get("close_context") and queue.empty():
                closed.add(said["context_id"])  # an interruption: whatever it still says is unwanted
            queue.put_nowait(said)
    finally:
        behaviour.connections -= 1
        speaker.cancel()
        await asyncio.gather(speaker, return_exceptions=True)
        if cut:
            cut.cancel()
    await socket.close()
    return socket


async def _speak(
    socket: web.WebSocketResponse,
    behaviour: Behaviour,
    rate: int,
    queue: asyncio.Queue[dict[str, Any]],
    closed: set[str],
) -> None:
    while True:
        said = await queue.get()
        context = said.get("context_id")
        if said.get("close_context"):
            await socket.send_json({"contextId": context, "isFinal": True})
        elif text := said.get("text", "").strip():
            await behaviour.think()
            if not any(letter.isalnum() for letter in text):
                continue  # nothing to voice: no message, and no error
            pcm = voice(text, rate, behaviour.seconds_per_word)
            for message in _messages(context, text, pcm, rate):
                if context not in closed:
                    await socket.send_json(message)


def _messages(context: str, text: str, pcm: bytes, rate: int) -> list[dict[str, Any]]:
    chars = [*text, " "]
    each = len(pcm) / 2 / rate * 1000 / len(chars)
    alignment = {
        "chars": chars,
        "charStartTimesMs": [int(each * i) for i in range(len(chars))],
        "charDurationsMs": [int(each)] * len(chars),
    }
    size = rate // 10 * 2
    messages: list[dict[str, Any]] = [
        {"contextId": context, "audio": base64.b64encode(pcm[start : start + size]).decode(), "isFinal": None}
        for start in range(0, len(pcm), size)
    ]
    messages[0]["alignment"] = alignment
    return messages
