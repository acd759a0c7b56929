"""One bot with Pipecat's own services, over our transport and over Pipecat's: what the stock one survives, ours must.

A stage is a call of one of the two: fake providers of its own, a caller who speaks a recording, and what they heard.
"""

import asyncio
import base64
import contextlib
import json
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websockets
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import Frame, LLMRunFrame, TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker, ProcessorUnusablePolicy
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.cartesia.tts import CartesiaTTSService
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.elevenlabs.tts import ElevenLabsTTSService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.transports.base_transport import BaseTransport
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_start import TranscriptionUserTurnStartStrategy, VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from shared.process.server import serve
from shared.sfvopi.formats import PCMA_8K
from shared.sfvopi.g711 import encode
from tests.fakes.faults import Fault
from tests.fakes.providers import FakeProviders
from worker.pipeline.finish import close_clients
from worker.pipeline.serializer import SFVoPIFrameSerializer

RATE = 8000
WORD_S = 0.12
HEARD = "what are your hours"
SILENCE = b"\xd5" * 160
RECORDING = next(Path(__file__).parents[2].glob("shared/**/speech/hours.wav"))


def recording() -> bytes:
    with wave.open(str(RECORDING)) as file:
        return encode(file.readframes(file.getnframes()), PCMA_8K)


# -- the bot


@dataclass
class Bot:
    """Its parts, for one call: services are made anew for each."""

    fakes: FakeProviders
    other: FakeProviders  # of a second model, or voice: with faults of its own

    def recogniser(self) -> FrameProcessor:
        return DeepgramSTTService(api_key="key", base_url=self.fakes.env["DEEPGRAM_URL"])

    def model(self, fakes: FakeProviders | None = None) -> OpenAILLMService:
        settings = OpenAILLMService.Settings(model="fake")
        url = (fakes or self.fakes).env["OPENAI_BASE_URL"]
        return OpenAILLMService(api_key="key", base_url=url, settings=settings)

    def cartesia(self, fakes: FakeProviders | None = None) -> CartesiaTTSService:
        url = (fakes or self.fakes).env["CARTESIA_URL"]
        return CartesiaTTSService(api_key="key", url=url, settings=CartesiaTTSService.Settings(voice="v"))

    def elevenlabs(self, fakes: FakeProviders | None = None) -> ElevenLabsTTSService:
        url = (fakes or self.fakes).env["ELEVENLABS_URL"]
        return ElevenLabsTTSService(api_key="key", url=url, settings=ElevenLabsTTSService.Settings(voice="v"))


@dataclass(frozen=True)
class Plan:
    """What a bot is made of. `greets`: with this text, or with the model's words if it is None, or not at all if ""."""

    greets: str | None = "Hello you."
    recogniser: Callable[[Bot], FrameProcessor] = Bot.recogniser
    model: Callable[[Bot], FrameProcessor] = Bot.model
    voice: Callable[[Bot], FrameProcessor] = Bot.cartesia
    policy: ProcessorUnusablePolicy = ProcessorUnusablePolicy.CONTINUE
    says_of_failures: str = ""
    tools: tuple[Any, ...] = ()


async def run(
    plan: Plan, bot: Bot, transport: BaseTransport, vad: Any, shown: Callable[[PipelineWorker], None]
) -> None:
    """The bot, over either transport, until its call is over."""
    strategies = UserTurnStrategies(
        start=[VADUserTurnStartStrategy(), TranscriptionUserTurnStartStrategy()],
        stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0.3)],
    )
    user, assistant = LLMContextAggregatorPair(
        LLMContext(tools=list(plan.tools)) if plan.tools else LLMContext(),
        user_params=LLMUserAggregatorParams(user_turn_strategies=strategies, vad_analyzer=vad),
    )
    worker = PipelineWorker(
        Pipeline(
            [
                transport.input(),
                plan.recogniser(bot),
                user,
                plan.model(bot),
                plan.voice(bot),
                transport.output(),
                assistant,
            ]
        ),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
        enable_rtvi=False,
        processor_unusable_policy=plan.policy,
    )

    async def greet(*_: Any) -> None:
        shown(worker)
        if plan.greets is None:
            await worker.queue_frame(LLMRunFrame())
        elif plan.greets:
            await worker.queue_frame(TTSSpeakFrame(plan.greets))

    async def leave(*_: Any) -> None:
        await worker.cancel()

    async def failed(*_: Any) -> None:
        if plan.says_of_failures:
            await worker.queue_frame(TTSSpeakFrame(plan.says_of_failures))

    transport.add_event_handler("on_client_connected", greet)
    transport.add_event_handler("on_client_disconnected", leave)
    worker.add_event_handler("on_pipeline_error", failed)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
    await close_clients(worker)


# -- the caller


class Caller:
    """The carrier's end of a stream: silence, or the recording, 50 times a second; and when sound was heard."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self._connection = connection
        self._to_say = bytearray()
        self.heard: list[tuple[float, float]] = []  # when it came, and how many seconds
        self.quiet_at = 0.0  # when all of it was played
        self.tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._talk())]

    async def _listen(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in self._connection:
                message = json.loads(text)
                now = time.monotonic()
                if message["event"] == "playAudio":
                    seconds = len(base64.b64decode(message["media"]["payload"])) / RATE
                    self.heard.append((now, seconds))
                    self.quiet_at = max(self.quiet_at, now) + seconds
                elif message["event"] == "clearAudio":
                    self.quiet_at = min(self.quiet_at, now)

    async def _talk(self) -> None:
        started = {"event": "start", "streamId": "S1", "callId": "carrier-1"}
        with contextlib.suppress(websockets.ConnectionClosed):
            await self._connection.send(json.dumps(started))
            due = time.monotonic()
            while True:
                piece = bytes(self._to_say[:160]).ljust(160, b"\xd5") if self._to_say else SILENCE
                del self._to_say[:160]
                media = {"payload": base64.b64encode(piece).decode(), "contentType": "audio/PCMA", "sampleRate": RATE}
                await self._connection.send(json.dumps({"event": "media", "streamId": "S1", "media": media}))
                due = max(due + 0.02, time.monotonic() - 0.2)
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    @property
    def is_closed(self) -> bool:
        return self._connection.state is websockets.State.CLOSED

    def heard_s(self, since: float = 0.0) -> float:
        return sum(seconds for at, seconds in self.heard if at >= since)

    async def speaks(self) -> None:
        """Says the recording, and is silent then."""
        self._to_say += recording()
        while self._to_say and not self.is_closed:
            await asyncio.sleep(0.02)

    async def begins(self) -> None:
        """To speak; the rest follows."""
        self._to_say += recording()
        await asyncio.sleep(0.8)

    async def hears(self, seconds: float = 8.0) -> bool:
        """Whether the bot begins to speak within this time."""
        before = len(self.heard)
        return await self.comes_true(lambda: len(self.heard) > before, seconds)

    async def hears_all(self, seconds: float = 8.0) -> bool:
        """Whether the bot speaks within this time, and has ended when this returns."""
        if not await self.hears(seconds):
            return False
        await self.comes_true(lambda: time.monotonic() > self.quiet_at + 0.5, 30)
        return True

    async def comes_true(self, condition: Callable[[], object], seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until or self.is_closed:
                return bool(condition())
            await asyncio.sleep(0.02)
        return True

    async def leave(self) -> None:
        for task in self.tasks[1:]:
            task.cancel()
        await self._connection.close()
        await asyncio.gather(*self.tasks, return_exceptions=True)


# -- one call


@dataclass
class Stage:
    """One call of a plan, over one transport."""

    fakes: FakeProviders
    other: FakeProviders
    caller: Caller = field(init=False)
    pipelines: list[PipelineWorker] = field(default_factory=list)

    def faults(self, **faults: str) -> None:
        """Have providers misbehave from now on: `deepgram="401"`."""
        for name, fault in faults.items():
            self.fakes.behaviours[name].fault = Fault.parse(fault)

    def cut(self, name: str) -> None:
        self.fakes.behaviours[name].cut()

    def cure(self) -> None:
        for behaviour in [*self.fakes.behaviours.values(), *self.other.behaviours.values()]:
            behaviour.fault = Fault()

    async def queue(self, *frames: Frame) -> None:
        assert await self.caller.comes_true(lambda: self.pipelines, 20), "a pipeline"
        await self.pipelines[-1].queue_frames(list(frames))

    async def greeted(self) -> None:
        assert await self.caller.hears_all(20), "the greeting"


@asynccontextmanager
async def providers() -> AsyncIterator[Stage]:
    async with (
        FakeProviders(stt_s=0.05, llm_s=0.1, tts_s=0.05, word_s=WORD_S, heard=HEARD) as fakes,
        FakeProviders(stt_s=0.05, llm_s=0.1, tts_s=0.05, word_s=WORD_S, heard=HEARD) as other,
    ):
        yield Stage(fakes, other)


@asynccontextmanager
async def stock(plan: Plan, stage: Stage) -> AsyncIterator[None]:
    """The call over Pipecat's transport, with the serializer for it and Pipecat's own speech detection."""

    async def take(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()
        serializer = SFVoPIFrameSerializer("S1", PCMA_8K)
        params = FastAPIWebsocketParams(
            serializer=serializer, audio_in_enabled=True, audio_out_enabled=True, audio_out_end_silence_secs=0
        )
        transport = FastAPIWebsocketTransport(websocket, params)
        await run(plan, Bot(stage.fakes, stage.other), transport, SileroVADAnalyzer(), stage.pipelines.append)

    server = await serve(Starlette(routes=[WebSocketRoute("/ws", take)]), "127.0.0.1", 0)
    async with websockets.connect(f"ws://127.0.0.1:{server.port}/ws", compression=None, proxy=None) as connection:
        stage.caller = Caller(connection)
        try:
            yield
        finally:
            await stage.caller.leave()
            await asyncio.sleep(0.1)
            await server.stop()


Connect = Callable[[], Awaitable[websockets.ClientConnection]]


@asynccontextmanager
async def ours(connect: Connect, stage: Stage) -> AsyncIterator[None]:
    """The call over our transport; `connect` brings the stream to a worker whose bot runs the plan."""
    stage.caller = Caller(await connect())
    try:
        yield
    finally:
        await stage.caller.leave()
