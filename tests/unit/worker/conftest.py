"""A worker in this process, on a real port, with a registry in memory; and a carrier that connects to it."""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import websockets
from loguru import logger
from pipecat.frames.frames import (
    AggregatedTextFrame,
    EndFrame,
    EndWorkerFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InputTransportMessageFrame,
    OutputTransportMessageFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from shared.calls.record import CallRecord
from shared.calls.state import CallEvent
from shared.registry import MemoryRegistry
from shared.settings import WorkerSettings
from shared.sfvopi.formats import PCMA_8K, AudioFormat
from shared.sfvopi.g711 import encode
from shared.telemetry.traces import NO_TRACER, Tracer
from shared.tokens import StreamToken, sign_token
from worker.app import WorkerApp
from worker.bot_loader import BotNotFound
from worker.pipeline.transport import SFVoPITransport

SECRET = "a secret for tests"
logger.remove()


async def until(condition: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)
    return value


def tone(seconds: float, amplitude: int = 8000, rate: int = 8000) -> bytes:
    """A square wave: loud, and easily told from silence."""
    half = rate // 800
    wave = amplitude.to_bytes(2, "little", signed=True) * half + (-amplitude).to_bytes(2, "little", signed=True) * half
    return (wave * int(seconds * 400 + 1))[: int(seconds * rate) * 2]


LOUD = encode(tone(0.02), PCMA_8K)
QUIET = b"\xd5" * 160


def media(payload: bytes = QUIET, **fields: Any) -> str:
    described = {"payload": base64.b64encode(payload).decode(), "contentType": "audio/PCMA", "sampleRate": 8000}
    return json.dumps({"event": "media", "streamId": "S1", "media": {**described, **fields}})


# -- bots


class Scripted(FrameProcessor):
    """Does what a key asks for: 0 converse, 1 speak, 2 speak what must be heard, 3 speak and say goodbye, 4 checkpoint,
    5 swallow what ends the pipeline from now on, 6 interrupt, 7 leave a task behind, 8 speak 10 s."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Frame] = []
        self.swallows = False
        self.left: Any = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, EndFrame) and self.swallows:
            return
        if isinstance(frame, InputTransportMessageFrame | InputDTMFFrame):
            self.seen.append(frame)
        await self.push_frame(frame, direction)
        if isinstance(frame, InputDTMFFrame):
            await self.pressed(frame.button.value)

    async def pressed(self, key: str) -> None:
        match key:
            case "0":
                await self.push_frame(TranscriptionFrame("what was heard", "caller", "now"))
                await self.push_frame(TTSStartedFrame())
                await self.push_frame(TTSAudioRawFrame(audio=tone(0.4), sample_rate=8000, num_channels=1))
                await self.push_frame(TTSTextFrame("what was said", "sentence"))
                await self.push_frame(TTSStoppedFrame())
            case "*":
                await self.push_frame(AggregatedTextFrame("this is cut short", "sentence"))
                await self.speak(10.0)
            case "1":
                await self.speak(1.0)
            case "2":
                await self.speak(1.0, interruptible=False)
            case "3":
                await self.speak(1.0)
                await self.push_frame(EndWorkerFrame())
            case "4":
                await self.speak(0.4)
                await self.push_frame(OutputTransportMessageFrame(message={"event": "checkpoint", "name": "said"}))
            case "5":
                self.swallows = True
                await self.push_frame(EndFrame(), FrameDirection.DOWNSTREAM)
            case "6":
                await self.broadcast_interruption()
            case "7":
                self.left = asyncio.get_running_loop().create_task(asyncio.sleep(3600))
            case "8":
                await self.speak(10.0)

    async def speak(self, seconds: float, interruptible: bool = True) -> None:
        await self.push_frame(TTSStartedFrame())
        frame = TTSAudioRawFrame(audio=tone(seconds), sample_rate=8000, num_channels=1)
        frame.interruptible = interruptible
        await self.push_frame(frame)
        await self.push_frame(TTSStoppedFrame())


class Swallower(FrameProcessor):
    """Lets no EndFrame pass."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, EndFrame):
            await self.push_frame(frame, direction)


class Echo(FrameProcessor):
    """Says what it hears."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame) and max(frame.audio) > 0:
            audio = TTSAudioRawFrame(audio=frame.audio, sample_rate=frame.sample_rate, num_channels=1)
            await self.push_frame(audio)


async def run_pipeline(transport: SFVoPITransport, *processors: FrameProcessor, rate: int = 8000) -> None:
    pipeline = PipelineWorker(
        Pipeline([transport.input(), *processors, transport.output()]),
        params=PipelineParams(audio_in_sample_rate=rate, audio_out_sample_rate=rate),
        enable_rtvi=False,
        enable_turn_tracking=False,
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(pipeline)
    await runner.run()


class Bots:
    """The bots that a test's worker can load, and what they left to look at."""

    def __init__(self) -> None:
        self.scripted: list[Scripted] = []
        self.arguments: list[Any] = []
        self.disconnected = 0
        self.bots: dict[str, Callable[[Any], Awaitable[None]]] = {
            "test:scripted": self._scripted,
            "test:swallows": self._swallows,
            "test:echo": self._echo,
            "test:echo16": self._echo16,
            "test:raises": self._raises,
            "test:returns": self._returns,
            "test:handles": self._handles,
            "test:deaf": self._deaf,
        }

    def load(self, name: str) -> Callable[[Any], Awaitable[None]]:
        if name not in self.bots:
            raise BotNotFound(name)
        return self.bots[name]

    async def _scripted(self, arguments: Any) -> None:
        self.arguments.append(arguments)
        self.scripted.append(Scripted())
        await run_pipeline(SFVoPITransport.for_call(arguments), self.scripted[-1])

    async def _swallows(self, arguments: Any) -> None:
        self.scripted.append(Scripted())
        await run_pipeline(SFVoPITransport.for_call(arguments), self.scripted[-1], Swallower())

    async def _echo(self, arguments: Any) -> None:
        await run_pipeline(SFVoPITransport.for_call(arguments), Echo())

    async def _echo16(self, arguments: Any) -> None:
        await run_pipeline(SFVoPITransport.for_call(arguments), Echo(), rate=16000)

    async def _raises(self, arguments: Any) -> None:
        raise RuntimeError("a bot's own mistake")

    async def _returns(self, arguments: Any) -> None:
        return

    async def _handles(self, arguments: Any) -> None:
        transport = SFVoPITransport.for_call(arguments)

        @transport.event_handler("on_client_disconnected")  # type: ignore[untyped-decorator]
        async def gone(_: Any, __: Any) -> None:
            self.disconnected += 1
            await arguments.websocket.pipeline.cancel()

        await run_pipeline(transport, Echo())

    async def _deaf(self, arguments: Any) -> None:
        """Listens to nothing: neither to its pipeline's end nor to being cancelled, for a while."""
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(0.5)


# -- the carrier


class Carrier:
    """The carrier's end of one stream."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self.connection = connection
        self.heard: list[tuple[float, dict[str, Any]]] = []
        self._tasks = [asyncio.create_task(self._listen())]

    async def _listen(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in self.connection:
                self.heard.append((time.monotonic(), json.loads(text)))

    async def send(self, *frames: str | bytes | dict[str, Any]) -> None:
        for frame in frames:
            await self.connection.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    async def start(self, stream_id: str = "S1") -> None:
        await self.send({"event": "start", "streamId": stream_id, "callId": "carrier-1"})

    async def press(self, digit: str) -> None:
        await self.send({"event": "dtmf", "streamId": "S1", "digit": digit})

    def talk(self, payload: bytes = QUIET) -> "asyncio.Task[None]":
        """Send 20 ms of this, every 20 ms, until cancelled or closed."""

        async def talking() -> None:
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    await self.send(media(payload))
                    await asyncio.sleep(0.02)

        self._tasks.append(asyncio.create_task(talking()))
        return self._tasks[-1]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [message for _, message in self.heard if message["event"] == name]

    @property
    def heard_s(self) -> float:
        """Seconds of audio that were sent to the caller."""
        return sum(len(base64.b64decode(m["media"]["payload"])) for m in self.events("playAudio")) / 8000

    async def closed(self, seconds: float = 5.0) -> int | None:
        """The close code, once the stream is closed by the worker."""
        async with asyncio.timeout(seconds):
            await self.connection.wait_closed()
        return self.connection.close_code

    async def hang_up(self) -> None:
        for task in self._tasks[1:]:
            task.cancel()
        await self.connection.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Fleet:
    """A worker, its registry, and calls that were answered."""

    def __init__(self, app: WorkerApp, registry: MemoryRegistry, bots: Bots) -> None:
        self.app = app
        self.registry = registry
        self.bots = bots
        self.carriers: list[Carrier] = []

    async def answer(self, call_id: str = "call-1", **changes: Any) -> str:
        """What the gateway does at an answer webhook; returns the stream's URL."""
        await self.registry.reserve(call_id, 60_000)
        fields = {"bot": "test:scripted", "worker_id": self.app.worker_id, "from_number": "+911234567890"}
        fields["answered_at_ms"] = self.registry.now_ms()
        await self.registry.move(call_id, CallEvent.ANSWER, {**fields, **changes})
        return self.url(call_id)

    def url(self, call_id: str = "call-1", *, attach_ms: int = 60_000, valid_ms: int = 600_000, **more: Any) -> str:
        now_ms = self.registry.now_ms()
        token = StreamToken(call_id, self.app.worker_id, AudioFormat(), now_ms + attach_ms, now_ms + valid_ms, **more)
        return f"ws://{self.app.address}/ws/{sign_token(token, SECRET)}"

    async def connect(self, url: str, call_id: str = "call-1", **options: Any) -> Carrier:
        headers = {"additional_headers": {"X-Call-UUID": call_id}}
        carrier = Carrier(await websockets.connect(url, compression=None, proxy=None, **{**headers, **options}))
        self.carriers.append(carrier)
        return carrier

    async def call(self, call_id: str = "call-1", **changes: Any) -> Carrier:
        """An answered call whose stream has started."""
        carrier = await self.connect(await self.answer(call_id, **changes), call_id)
        await carrier.start()
        return carrier

    async def scripted(self) -> Scripted:
        """The processor of the newest bot, once its pipeline runs."""
        session = self.app.sessions.all()[-1]
        async with asyncio.timeout(15):
            await session.stream.watch.pipeline_started.wait()
        return self.bots.scripted[-1]

    async def refusal(self, url: str) -> websockets.Response:
        """The HTTP answer to an upgrade that is refused."""
        with pytest.raises(websockets.InvalidStatus) as refused:
            await self.connect(url)
        return refused.value.response

    async def ended(self, call_id: str = "call-1", seconds: float = 8.0) -> CallRecord:
        """The call's record, once it has ended and its session is gone."""
        await until(lambda: self.app.sessions.get(call_id) is None, seconds)
        await until(lambda: not len(self.app.afterwards), seconds)
        record = await self.registry.get(call_id)
        assert record is not None
        assert record.is_over
        return record

    def count(self, name: str, **labels: str) -> float:
        return self.app.meter.value(name, **labels)

    async def timeline(self, call_id: str = "call-1") -> list[tuple[str, dict[str, Any]]]:
        return [(entry.event, dict(entry.data)) for entry in await self.registry.timeline(call_id)]


def settings_for_tests(**given: Any) -> WorkerSettings:
    quick = {
        "token_secrets": SECRET,
        "default_bot": "test:scripted",
        "rehearsal": "off",
        "after_call_s": 2.0,
        "reconnect_window_s": 1.0,
        "start_deadline_s": 0.5,
        "end_grace_s": 1.0,
        "cancel_grace_s": 1.0,
        "heartbeat_s": 0.2,
        "lease_s": 1.0,
        "lag_limit_ms": 0,  # a busy machine is no fault of what is tested
    }
    return WorkerSettings.read(**{**quick, **given})


@pytest.fixture
async def start_worker() -> AsyncIterator[Callable[..., Awaitable[Fleet]]]:
    started: list[Fleet] = []

    async def start(
        registry: Any = None,
        tracer: Tracer = NO_TRACER,
        more_bots: dict[str, Any] | None = None,
        load_bot: Callable[[str], Any] | None = None,
        **settings: Any,
    ) -> Fleet:
        registry, bots = registry or MemoryRegistry(), Bots()
        bots.bots |= more_bots or {}
        app = WorkerApp(settings_for_tests(**settings), registry, load_bot or bots.load, tracer=tracer)
        await app.start()
        started.append(Fleet(app, registry, bots))
        return started[-1]

    yield start
    for fleet in started:
        for carrier in fleet.carriers:
            await carrier.hang_up()
        await fleet.app.stop()
        await fleet.registry.close()


@pytest.fixture
async def fleet(start_worker: Callable[..., Awaitable[Fleet]]) -> Fleet:
    return await start_worker()


@pytest.fixture(name="until")
def _until() -> Callable[..., Awaitable[Any]]:
    return until


@pytest.fixture(name="LOUD")
def _loud() -> bytes:
    return LOUD


@pytest.fixture(name="media")
def _media() -> Callable[..., str]:
    return media
