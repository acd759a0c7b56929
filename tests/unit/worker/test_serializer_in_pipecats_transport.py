"""The serializer in Pipecat's own FastAPI transport, called over a real socket by a client that only knows the wire.

The application is the guide's in small: it reads `start`, makes the serializer, and runs a bot.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from shared.sfvopi import g711
from shared.sfvopi.errors import DropReason
from shared.sfvopi.formats import PCMA_8K, AudioFormat, Codec
from shared.sfvopi.messages import (
    AudioCleared,
    Checkpoint,
    CheckpointPlayed,
    ClearAudio,
    Command,
    DigitPressed,
    MediaReceived,
    PlayAudio,
    StreamStarted,
)
from shared.sfvopi.parse import parse_command
from shared.sfvopi.reader import EventReader
from shared.sfvopi.render import render_event
from worker.pipeline.checkpoints import checkpoint
from worker.pipeline.serializer import CARRIER_DELAY_S, SFVoPIFrameSerializer

JUNK = {
    "{": DropReason.NOT_JSON,
    "[1]": DropReason.NOT_OBJECT,
    "{}": DropReason.NO_EVENT,
    '{"event":"stop"}': DropReason.UNKNOWN_EVENT,
    '{"event":"media","media":null}': DropReason.BAD_FIELD,
    '{"event":"media","media":{"payload":"$$$"}}': DropReason.BAD_PAYLOAD,
    '{"event":"media","media":{"payload":"1dXV","contentType":"audio/opus"}}': DropReason.WRONG_FORMAT,
    "x" * 100_000: DropReason.TOO_LARGE,
    b"\x00\x01": DropReason.NOT_TEXT,
    '{"event":"dtmf","digit":"A"}': DropReason.BAD_FIELD,
}


class Bot(FrameProcessor):
    """Speaks on 1 (with a checkpoint behind it), speaks long on 2, interrupts on 3, sends a word on 4, ends on 9."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.rate = rate
        self.heard = bytearray()
        self.messages: list[Any] = []
        self.keys: list[KeypadEntry] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case InputAudioRawFrame():
                self.heard += frame.audio
            case InputTransportMessageFrame():
                self.messages.append(frame.message)
            case InputDTMFFrame():
                self.keys.append(frame.button)
                await self.pressed(frame.button.value)
            case _:
                await self.push_frame(frame, direction)

    async def pressed(self, key: str) -> None:
        match key:
            case "1":
                await self.speak(0.4)
                await self.push_frame(checkpoint("done"))
            case "2":
                await self.speak(5.0)
            case "3":
                await self.broadcast_interruption()
            case "4":
                await self.push_frame(OutputTransportMessageUrgentFrame(message={"event": "word"}))
            case "9":
                await self.pipeline_worker.queue_frame(EndFrame())

    async def speak(self, seconds: float) -> None:
        await self.push_frame(TTSStartedFrame())
        await self.push_frame(TTSAudioRawFrame(tone(seconds, self.rate), self.rate, 1))
        await self.push_frame(TTSStoppedFrame())


def tone(seconds: float, rate: int) -> bytes:
    samples = (8000 * (-1) ** (n * 800 // rate) for n in range(round(seconds * rate)))
    return b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)


class Call:
    """What the application made of the one call that it takes."""

    def __init__(self, format: AudioFormat, rate: int) -> None:
        self.format, self.rate = format, rate
        self.bot = Bot(rate)
        self.serializer: SFVoPIFrameSerializer | None = None
        self.ended = asyncio.Event()

    async def take(self, websocket: WebSocket) -> None:
        await websocket.accept()
        started = EventReader(self.format).read(await websocket.receive_text(), time.monotonic())
        assert isinstance(started, StreamStarted)
        self.serializer = SFVoPIFrameSerializer(started.stream_id, self.format)
        params = FastAPIWebsocketParams(
            serializer=self.serializer, audio_in_enabled=True, audio_out_enabled=True, audio_out_end_silence_secs=0
        )
        transport = FastAPIWebsocketTransport(websocket, params)
        worker = PipelineWorker(
            Pipeline([transport.input(), self.bot, transport.output()]),
            params=PipelineParams(audio_in_sample_rate=self.rate, audio_out_sample_rate=self.rate),
            enable_rtvi=False,
        )

        async def leave(*_: Any) -> None:
            await worker.cancel()

        transport.add_event_handler("on_client_disconnected", leave)
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        await runner.run()
        self.ended.set()


@contextlib.asynccontextmanager
async def serving(call: Call) -> AsyncIterator[str]:
    app = Starlette(routes=[WebSocketRoute("/ws", call.take)])
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="websockets-sansio", lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}/ws"
    finally:
        server.should_exit = True
        await task


class Phone:
    """The carrier's end: sends what it is told, keeps what it gets."""

    def __init__(self, socket: ClientConnection, format: AudioFormat) -> None:
        self.socket, self.format = socket, format
        self.received: list[Command | dict[str, Any]] = []

    async def listen(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for frame in self.socket:
                message = json.loads(frame)
                known = message["event"] in {"playAudio", "clearAudio", "checkpoint"}
                self.received.append(parse_command(frame) if known else message)

    async def send(self, event: Any) -> None:
        await self.socket.send(render_event(event))

    def audio(self, since: int = 0) -> bytes:
        return b"".join(command.payload for command in self.received[since:] if isinstance(command, PlayAudio))

    def received_kinds(self, kind: type, since: int = 0) -> list[Any]:
        return [command for command in self.received[since:] if isinstance(command, kind)]


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


FORMATS = [
    pytest.param(PCMA_8K, 8000, id="A-law, pipeline at 8 kHz"),
    pytest.param(PCMA_8K, 16000, id="A-law, pipeline at 16 kHz"),
    pytest.param(AudioFormat(Codec.PCMU), 8000, id="µ-law"),
    pytest.param(AudioFormat(Codec.L16, 16000), 16000, id="L16 at 16 kHz"),
]


@pytest.mark.parametrize(("format", "rate"), FORMATS)
async def test_a_call_goes_through_pipecats_own_transport(format: AudioFormat, rate: int) -> None:
    call = Call(format, rate)
    async with serving(call) as url, connect(url, compression=None) as socket:
        phone = Phone(socket, format)
        listening = asyncio.create_task(phone.listen())
        await phone.send(StreamStarted("S1", "C1"))

        # the bot hears all that is said, and goes on hearing after frames that cannot be used
        said = g711.encode(tone(0.2, format.sample_rate), format)
        frames = [said[n : n + format.frame_bytes] for n in range(0, len(said), format.frame_bytes)]
        for frame in frames:
            await phone.send(MediaReceived(frame, format, "S1"))
        await until(lambda: len(call.bot.heard) == 0.2 * rate * 2)
        if rate == format.sample_rate:
            assert bytes(call.bot.heard) == g711.decode(said, format)
        for junk in JUNK:
            await socket.send(junk)
        await phone.send(MediaReceived(frames[0], format, "S1"))
        await until(lambda: len(call.bot.heard) == 0.22 * rate * 2)
        assert call.serializer is not None
        assert call.serializer.dropped == {
            reason: list(JUNK.values()).count(reason) for reason in dict.fromkeys(JUNK.values())
        }

        # a key is pressed: the bot speaks, and a checkpoint follows the audio that it marks
        await phone.send(DigitPressed("1", "S1"))
        await until(lambda: phone.received_kinds(Checkpoint))
        assert phone.received[-1] == Checkpoint("S1", "done")
        assert {play.format for play in phone.received_kinds(PlayAudio)} == {format}
        assert format.duration_ms(len(phone.audio())) == pytest.approx(400, abs=0.2)
        if rate == format.sample_rate:
            assert phone.audio() == g711.encode(tone(0.4, rate), format)
        await phone.send(CheckpointPlayed("done"))
        await until(lambda: {"event": "playedStream", "name": "done"} in call.bot.messages)

        # the bot is interrupted: one clear, and no audio after it
        before = len(phone.received)
        await phone.send(DigitPressed("2", "S1"))
        await until(lambda: len(phone.received_kinds(PlayAudio, before)) >= 4)
        await phone.send(DigitPressed("3", "S1"))
        await until(lambda: phone.received_kinds(ClearAudio))
        await phone.send(AudioCleared(1))
        await until(lambda: {"event": "clearedAudio", "sequenceNumber": 1} in call.bot.messages)
        await asyncio.sleep(CARRIER_DELAY_S + 0.1)  # nothing comes: there is no condition to wait for
        assert phone.received[-1] == ClearAudio("S1", 1)

        # silence is interrupted: there is nothing to clear. Then an urgent word, and the end
        await phone.send(DigitPressed("3", "S1"))
        await phone.send(DigitPressed("4", "S1"))
        await until(lambda: {"event": "word"} in phone.received)
        assert len(phone.received_kinds(ClearAudio)) == 1
        await phone.send(DigitPressed("9", "S1"))
        await asyncio.wait_for(call.ended.wait(), 10)
        await asyncio.wait_for(listening, 10)
        assert socket.close_code == 1000
    assert [key.value for key in call.bot.keys] == ["1", "2", "3", "3", "4", "9"]


async def test_a_caller_who_hangs_up_ends_the_bot() -> None:
    call = Call(PCMA_8K, 8000)
    async with serving(call) as url:
        async with connect(url, compression=None) as socket:
            await socket.send(render_event(StreamStarted("S1", "C1")))
            await socket.send(render_event(MediaReceived(b"\xd5" * 160, PCMA_8K, "S1")))
            await until(lambda: call.bot.heard)
        await asyncio.wait_for(call.ended.wait(), 10)
