"""CPU of the media path per message, without sockets: calls in this process, through the worker's own ASGI application.

    python -m tests.bench.micro [--calls 20] [--seconds 8] [--profile FILE] [--phase idle|bot|talk]

Audio flows in real time, so timers, batches and wake-ups cost what they cost in a call. What the feeding itself
costs is measured before, with an application that only takes the messages, and subtracted.
"""

import argparse
import asyncio
import base64
import cProfile
import gc
import itertools
import json
import pstats
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

from loguru import logger
from pipecat.frames.frames import (
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings, STTSettings, TTSSettings
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pipecat.transcriptions.language import Language
from pipecat.utils.time import time_now_iso8601

from shared.calls.state import CallEvent
from shared.process import memory
from shared.registry import MemoryRegistry
from shared.settings import WorkerSettings
from shared.sfvopi.formats import PCMA_8K
from shared.sfvopi.g711 import encode
from shared.tokens import StreamToken, sign_token
from tests.bench import sounds
from worker.app import WorkerApp
from worker.bots import receptionist
from worker.tls import new_event_loop

SECRET = "a secret for a benchmark that is long enough"
FRAME_S = 0.02


# -- services that cost next to nothing


class FakeSTT(STTService):
    def __init__(self, delay_s: float = 0.1, **options: Any) -> None:
        super().__init__(settings=STTSettings(model=None, language=Language.EN), ttfs_p99_latency=0.35, **options)
        self._delay_s = delay_s
        self._waiting: set[asyncio.Task[None]] = set()

    async def run_stt(self, audio: bytes) -> Any:
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            task = asyncio.create_task(self._transcribe())
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _transcribe(self) -> None:
        await asyncio.sleep(self._delay_s)
        await self.push_frame(
            TranscriptionFrame("What are your opening hours?", "caller", time_now_iso8601(), finalized=True)
        )


class FakeLLM(LLMService[Any]):
    def __init__(self, **options: Any) -> None:
        names = ("temperature", "max_tokens", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed")
        super().__init__(
            settings=LLMSettings(
                model="fake",
                system_instruction=None,
                filter_incomplete_user_turns=False,
                user_turn_completion_config=None,
                **dict.fromkeys(names),
            ),
            **options,
        )

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        await asyncio.sleep(0.2)
        for word in ["We", "are", "open", "from", "noon", "to", "ten,", "every", "day", "but", "Monday."]:
            await self.push_frame(LLMTextFrame(f"{word} "))
        await self.push_frame(LLMFullResponseEndFrame())


class FakeTTS(TTSService):
    """Speaks 3 s of sound (or as long as told), in pieces of 100 ms."""

    seconds = 3.0

    def __init__(self, **options: Any) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            settings=TTSSettings(model=None, voice=None, language=None),
            **options,
        )

    async def run_tts(self, text: str, context_id: str) -> Any:
        await asyncio.sleep(0.1)
        piece = sounds.speech()[: self.sample_rate // 10 * 2]
        for _ in range(round(self.seconds * 10)):
            yield TTSAudioRawFrame(piece, self.sample_rate, 1, context_id=context_id)


# -- calls in memory


class Wire:
    """The ASGI end of one call's WebSocket."""

    def __init__(self, app: Any, token: str) -> None:
        self.sent: list[tuple[float, str]] = []
        self._inbox: deque[dict[str, Any]] = deque([{"type": "websocket.connect"}])
        self._waiting: asyncio.Future[None] | None = None
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "scheme": "ws",
            "path": f"/ws/{token}",
            "raw_path": f"/ws/{token}".encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "subprotocols": [],
            "state": {},
            "extensions": {"websocket.http.response": {}},
        }
        self.task = asyncio.get_running_loop().create_task(app(scope, self._receive, self._send))

    def feed(self, text: str) -> None:
        self._put({"type": "websocket.receive", "text": text})

    def hang_up(self) -> None:
        self._put({"type": "websocket.disconnect", "code": 1000})

    def _put(self, message: dict[str, Any]) -> None:
        self._inbox.append(message)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _receive(self) -> dict[str, Any]:
        while not self._inbox:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._inbox.popleft()

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] != "websocket.send":
            return
        text = message["text"]
        self.sent.append((time.monotonic(), text))
        if '"checkpoint"' in text:
            self.feed(json.dumps({"event": "playedStream", "name": json.loads(text)["name"]}))

    def count(self, event: str) -> int:
        return sum(f'"{event}"' in text[:32] for _, text in self.sent)


def messages(pcm: bytes) -> list[str]:
    """The `media` messages of 20 ms each."""
    texts = []
    for at in range(0, len(pcm) - 319, 320):
        payload = base64.b64encode(encode(pcm[at : at + 320], PCMA_8K)).decode()
        media = {"payload": payload, "contentType": "audio/PCMA", "sampleRate": 8000}
        texts.append(json.dumps({"event": "media", "streamId": "S1", "media": media}, separators=(",", ":")))
    return texts


def quiet() -> list[str]:
    """A silent line: comfort noise of a few units."""
    return messages(sounds.noise(1.0, rms=7))


async def feed(wires: list[Wire], texts: list[str], seconds: float, first: int = 0) -> int:
    """Every call's messages in real time from the first on, evenly spread; how many messages went in."""
    loop = asyncio.get_running_loop()
    begin, fed, ticks = loop.time(), 0, round(seconds / FRAME_S)
    per_step = max(1, len(wires) // 10)
    groups = [wires[at : at + per_step] for at in range(0, len(wires), per_step)]
    for tick in range(ticks):
        for index, group in enumerate(groups):
            due = begin + (tick + index / len(groups)) * FRAME_S
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            for wire in group:
                wire.feed(texts[(first + tick + 37 * index) % len(texts)])
                fed += 1
    return fed


async def nothing(scope: Any, receive: Callable[[], Any], send: Any) -> None:
    """An application that takes messages and does nothing."""
    while (await receive())["type"] != "websocket.disconnect":
        pass


# -- the measurement


class Lag:
    """How late the loop wakes."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self._task = asyncio.create_task(self._sample())

    async def _sample(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            at = loop.time() + 0.005
            await asyncio.sleep(0.005)
            self.late.append(loop.time() - at)

    def stop(self) -> dict[str, float]:
        self._task.cancel()
        late = sorted(self.late)
        return {"p99": round(1000 * late[int(len(late) * 0.99)], 2), "max": round(1000 * late[-1], 2)}


async def start_calls(app: WorkerApp, asgi: Any, registry: MemoryRegistry, count: int, prefix: str) -> list[Wire]:
    wires = []
    for index in range(count):
        call_id = f"{prefix}-{index}"
        await registry.reserve(call_id, 60_000)
        await registry.move(
            call_id,
            CallEvent.ANSWER,
            {"bot": "bench:bot", "worker_id": app.worker_id, "answered_at_ms": registry.now_ms()},
        )
        now_ms = registry.now_ms()
        token = StreamToken(call_id, app.worker_id, PCMA_8K, now_ms + 60_000, now_ms + 600_000)
        wire = Wire(asgi, sign_token(token, SECRET))
        wire.feed('{"event":"start","streamId":"S1","callId":"c"}')
        wires.append(wire)
        await asyncio.sleep(0.05)
    return wires


async def cost_of(wires: list[Wire], texts: list[str], seconds: float) -> tuple[float, int]:
    """CPU seconds, as on a machine at its usual speed, and messages."""
    await feed(wires, texts, 0.5)
    gc.collect()
    spent, fed = 0.0, 0
    for second in range(round(seconds)):
        speed = usual_speed()
        before = time.process_time()
        fed += await feed(wires, texts, 1.0, 25 + 50 * second)
        spent += (time.process_time() - before) * (speed + usual_speed()) / 2
    return spent, fed


def usual_speed() -> float:
    """How fast this machine is just now: 1 as when nobody disturbed it. Half of that is nothing unusual."""
    before = time.process_time()
    for _ in range(3):
        json.dumps(json.loads(_WORK))
    return USUAL_S / (time.process_time() - before)


_WORK = json.dumps([{"number": n, "text": "a" * 20, "list": [n] * 5} for n in range(300)])
USUAL_S = 0.0022


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    registry = MemoryRegistry()
    settings = WorkerSettings.read(
        token_secrets=SECRET,
        default_bot="bench:bot",
        calls_per_worker=arguments.calls * 3 + 5,
        lag_limit_ms=0,
        max_call_s=600,
    )
    app = WorkerApp(settings, registry, lambda _: receptionist.bot)
    await app.start(when_prepared=partial(memory.freeze_what_stays, memory.RARELY))
    assert app.server is not None
    asgi = app.server._server.config.loaded_app
    result: dict[str, Any] = {"calls": arguments.calls}
    idle, talk = quiet(), messages(sounds.speech())
    feeding = [Wire(nothing, "x") for _ in range(arguments.calls)]
    cpu, fed = await cost_of(feeding, idle, min(4, arguments.seconds))
    feeding_us = 1e6 * cpu / fed
    for wire in feeding:
        wire.hang_up()
    cpu, fed = 0.0, 0
    alone = time.process_time()
    await asyncio.sleep(1.0)
    result["process_us_per_s"] = round(1e6 * (time.process_time() - alone))

    # one call after another: its stall
    lag = Lag()
    begun = time.process_time()
    wires = await start_calls(app, asgi, registry, arguments.calls, "a")
    result["start_cpu_ms_per_call"] = round(1000 * (time.process_time() - begun) / arguments.calls, 1)
    await asyncio.sleep(0.3)
    result["start_lag_ms"] = lag.stop()
    for _ in range(100):
        await asyncio.sleep(0.1)
        if all(wire.count("playAudio") for wire in wires):
            break
    await feed(wires, idle, 5.0)  # the greeting is over
    profile = cProfile.Profile() if arguments.profile else None
    lag = Lag()
    if profile and arguments.phase == "idle":
        profile.enable()
    cpu, fed = await cost_of(wires, idle, arguments.seconds)
    if profile and arguments.phase == "idle":
        profile.disable()
    result["idle_us_per_message"] = round(1e6 * cpu / fed - feeding_us, 1)
    result["idle_lag_ms"] = lag.stop()

    # the bot speaks, the caller is silent
    FakeTTS.seconds = arguments.seconds + 5
    from pipecat.frames.frames import TTSSpeakFrame

    for session in app.sessions.all():
        await session.stream.pipeline.queue_frame(TTSSpeakFrame("Something long."))
    await feed(wires, idle, 1.5)
    sent = sum(wire.count("playAudio") for wire in wires)
    seconds = sum(_seconds(wire) for wire in wires)
    lag = Lag()
    if profile and arguments.phase == "bot":
        profile.enable()
    cpu, fed = await cost_of(wires, idle, arguments.seconds)
    if profile and arguments.phase == "bot":
        profile.disable()
    sent = sum(wire.count("playAudio") for wire in wires) - sent
    spoken = sum(_seconds(wire) for wire in wires) - seconds
    idle_us = result["idle_us_per_message"] + feeding_us
    result["out_us_per_40ms"] = round((1e6 * cpu - fed * idle_us) / (spoken / 0.04), 1)
    result["out_ms_per_message"] = round(1000 * spoken / max(1, sent))
    result["bot_lag_ms"] = lag.stop()
    FakeTTS.seconds = 3.0

    # a conversation: the caller speaks, interrupts, pauses
    mixed = talk + idle[:40] * 3
    before = sum(wire.count("clearAudio") for wire in wires)
    lag = Lag()
    if profile and arguments.phase == "talk":
        profile.enable()
    cpu, fed = await cost_of(wires, mixed, arguments.seconds)
    if profile and arguments.phase == "talk":
        profile.disable()
    result["talk_us_per_message"] = round(1e6 * cpu / fed - feeding_us, 1)
    result["talk_cpu_s_per_call_min"] = round(60 * (cpu - fed * feeding_us / 1e6) / arguments.seconds / len(wires), 3)
    result["clears"] = sum(wire.count("clearAudio") for wire in wires) - before
    result["talk_lag_ms"] = lag.stop()
    result["feeding_us"] = round(feeding_us, 1)
    if profile:
        pstats.Stats(profile).dump_stats(arguments.profile)
    for wire in wires:
        wire.hang_up()
    await asyncio.sleep(0.1)
    result["first_audio_ms"] = _first_audio(wires)
    await app.stop()
    await registry.close()
    return result


def _seconds(wire: Wire) -> float:
    return sum(len(json.loads(t)["media"]["payload"]) * 3 // 4 for _, t in wire.sent if "playAudio" in t[:24]) / 8000


def _first_audio(wires: list[Wire]) -> float:
    firsts = [next(at for at, text in wire.sent if "playAudio" in text[:24]) for wire in wires]
    return round(statistics.median(1000 * (b - a) for a, b in itertools.pairwise(firsts)), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--profile", help="write cProfile's figures of one phase into this file")
    parser.add_argument("--phase", default="idle", choices=["idle", "bot", "talk"])
    arguments = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    services = receptionist.services
    with (
        patch.object(services, "make_stt", lambda _, **options: FakeSTT(**options)),
        patch.object(services, "make_llm", lambda _: FakeLLM()),
        patch.object(services, "make_tts", lambda _: FakeTTS()),
        patch.object(services, "warm_up", _no_warm_up),
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        print(json.dumps(runner.run(measure(arguments))))


async def _no_warm_up(*_: Any) -> None:
    return


if __name__ == "__main__":
    main()
