"""OpenAI's chat completions (streamed), speech and transcription: `/v1/…`."""

import asyncio
import io
import json
import re
import wave
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.fakes.faults import Behaviour
from tests.fakes.tones import recognise, voice
from worker.pipeline.offline.rules import Rules, turn_of

SPEECH_RATE = 24000
STORY_SENTENCES = 12  # 47 s at the pace of speech
BUNDLED_WORDS = 100


def follow(rules: Rules | None, body: dict[str, Any]) -> tuple[str, dict[str, Any] | None] | None:
    """What a file of rules has for this request, if there is one, and a rule of it fits."""
    tools = [tool["function"]["name"] for tool in body.get("tools") or []]
    action = rules.act(turn_of(body["messages"]), tools) if rules else None
    if action is None:
        return None
    return action.answer, {"name": action.tool, "arguments": dict(action.arguments)} if action.tool else None


def answer(body: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """What the fake model says to a request, or the tool that it calls. It echoes, remembers what it is
    told again with every request, and a goodbye ends the call."""
    said = [text for message in body["messages"] if message["role"] == "user" and (text := _text(message))]
    last = said[-1] if said else "nothing"
    tools = {tool["function"]["name"] for tool in body.get("tools") or []}
    if "goodbye" in last.lower() and "end_call" in tools:
        return "", {"name": "end_call", "arguments": {"farewell": f"Goodbye, {last.replace('goodbye', '').strip()}."}}
    if "which caller am i" in last.lower():
        return _who_calls(said), None
    if "bedtime story" in last.lower():
        return " ".join(["Once upon a time there was a telephone that nobody could hang up."] * STORY_SENTENCES), None
    if "what did i say first" in last.lower():
        earlier = [found[0] for text in said[:-1] if (found := re.search(r"caller \d+", text))]
        return (f"You said first: this is {earlier[0]}." if earlier else "I do not know."), None
    if "thumbs up" in last.lower():
        return f"You said: {last}. \N{THUMBS UP SIGN}", None
    if "long story" in last.lower():
        return " ".join(f"Part {part} of the long story for {last}." for part in range(1, 9)), None
    return f"You said: {last}.", None


def _who_calls(said: list[str]) -> str:
    """What the model can know only from the conversation that it is given: nothing else tells it who calls."""
    named = [match for text in said for match in re.findall(r"this is caller (\d+)", text)]
    return f"You are caller {named[-1]}." if named else "I do not know you."


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


async def complete(request: web.Request, behaviour: Behaviour) -> web.StreamResponse:
    """`POST /v1/chat/completions`."""
    if refusal := await behaviour.refuse():
        return refusal
    if not request.headers.get("Authorization", "").startswith("Bearer "):
        return web.json_response({"error": {"message": "no key", "code": "invalid_api_key"}}, status=401)
    body = await request.json()
    text, tool = follow(behaviour.rules, body) or answer(body)
    await behaviour.think()
    if behaviour.fault.errs:
        return web.Response(text='data: {"error": {"message": "as asked"}}\n\n', content_type="text/event-stream")
    if not body.get("stream"):
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({**_envelope(body), "object": "chat.completion", "choices": [choice]})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    cut = behaviour.cut_later(request)
    try:
        await response.prepare(request)
        for chunk in _chunks(body, text, tool):
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
            await asyncio.sleep(behaviour.seconds_per_token)
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
    except ConnectionError:
        pass  # the caller interrupted: nobody wants the rest
    finally:
        if cut:
            cut.cancel()
    return response


def _chunks(body: dict[str, Any], text: str, tool: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    envelope = {**_envelope(body), "object": "chat.completion.chunk"}
    if tool:
        function = {"name": tool["name"], "arguments": json.dumps(tool["arguments"])}
        call = {"index": 0, "id": f"call_{len(body['messages'])}", "type": "function", "function": function}
        yield {**envelope, "choices": [_delta({"role": "assistant", "tool_calls": [call]})]}
    for piece in _pieces(text):
        yield {**envelope, "choices": [_delta({"content": f"{piece} "})]}
    yield {**envelope, "choices": [{**_delta({}), "finish_reason": "tool_calls" if tool else "stop"}]}
    usage = {"prompt_tokens": 10, "completion_tokens": len(text.split()), "total_tokens": 10 + len(text.split())}
    yield {**envelope, "choices": [], "usage": usage}


def _pieces(text: str) -> list[str]:
    """A short answer word by word; a long one, which a quick model bundles, sentence by sentence."""
    words = text.split()
    return words if len(words) <= BUNDLED_WORDS else re.findall(r"\S[^.]*\.?", text)


def _delta(delta: dict[str, Any]) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": None}


def _envelope(body: dict[str, Any]) -> dict[str, Any]:
    return {"id": "chatcmpl-fake", "created": 0, "model": body["model"]}


async def speak(request: web.Request, behaviour: Behaviour) -> web.StreamResponse:
    """`POST /v1/audio/speech`: 24 kHz PCM, as the real one speaks."""
    if refusal := await behaviour.refuse():
        return refusal
    body = await request.json()
    await behaviour.think()
    return web.Response(body=voice(body["input"], SPEECH_RATE), content_type="audio/pcm")


async def transcribe(request: web.Request, behaviour: Behaviour) -> web.StreamResponse:
    """`POST /v1/audio/transcriptions`: a WAV file in a form."""
    if refusal := await behaviour.refuse():
        return refusal
    form = await request.post()
    file = form["file"]
    assert isinstance(file, web.FileField)
    with wave.open(io.BytesIO(file.file.read())) as reader:
        text = recognise(reader.readframes(reader.getnframes()), reader.getframerate())
    await behaviour.think()
    return web.json_response({"text": text})
