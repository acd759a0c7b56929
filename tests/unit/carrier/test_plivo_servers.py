"""Servers that nobody here wrote, written for Plivo, driven by the carrier in its superset dialect."""

import asyncio
import audioop
import contextlib
import sys
import types
import warnings
from collections.abc import AsyncIterator

import pytest
import uvicorn
import websockets
from pipecat.frames.frames import InputAudioRawFrame, InputDTMFFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.plivo import PlivoFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from shared.carrier.audio import tone
from shared.carrier.call import place_call
from shared.carrier.plan import CallPlan, Dialect, HangUp, InterruptAfter, Press, Say, Step, Wait, WaitForBot
from shared.carrier.report import CallOutcome

STEPS: tuple[Step, ...] = (
    WaitForBot(quiet_s=0.2, limit_s=5),
    Press("5"),
    InterruptAfter(0.3, limit_s=5),
    Say("Stop", tone(300, 0.6)),
    Wait(0.3),
    HangUp(),
)


def ulaw_tone(s: float) -> list[bytes]:
    audio = audioop.lin2ulaw(tone(440, s), 2)
    return [audio[at : at + 160] for at in range(0, len(audio), 160)]


@pytest.fixture
def plivo_stream(monkeypatch):
    """The SDK. It imports `plivo.utils`, for signatures alone, without asking for it in its requirements."""
    plivo, utils = types.ModuleType("plivo"), types.ModuleType("plivo.utils")
    plivo.utils = utils
    monkeypatch.setitem(sys.modules, "plivo", plivo)
    monkeypatch.setitem(sys.modules, "plivo.utils", utils)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its pydantic models are of an older style
        import plivo_stream

        return plivo_stream


async def test_plivos_own_sdk_takes_every_message_of_the_superset(plivo_stream):
    seen: list[tuple[str, object]] = []
    handlers = []

    async def serve_call(socket) -> None:
        handler = plivo_stream.PlivoWebsocketStreamingHandler()
        handlers.append(handler)

        @handler.on_start
        async def started(event):
            seen.append(("start", (event.start.stream_id, event.start.media_format.encoding)))
            for frame in ulaw_tone(0.4):
                await handler.send_media(frame)
            await handler.send_checkpoint("greeting")

        @handler.on_media
        async def media(event):
            if audioop.rms(audioop.ulaw2lin(event.get_raw_media(), 2), 2) > 1000 and ("clear", None) not in seen:
                seen.append(("clear", None))
                await handler.send_clear_audio()

        @handler.on_dtmf
        async def pressed(event):
            seen.append(("dtmf", event.dtmf.digit))
            for frame in ulaw_tone(3):
                await handler.send_media(frame)

        @handler.on_played_stream
        async def played(event):
            seen.append(("played", event.name))

        @handler.on_cleared_audio
        async def cleared(event):
            seen.append(("cleared", event.stream_id))

        @handler.on_error
        async def failed(error):
            seen.append(("error", error))

        await handler.handle(socket)

    async with websockets.serve(serve_call, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        plan = CallPlan(stream_url=f"ws://127.0.0.1:{port}/stream", dialect=Dialect.SUPERSET, steps=STEPS, max_s=15)
        report = await place_call(plan)

    stream_id = report.stream_ids[0]
    assert report.outcome is CallOutcome.COMPLETED, report
    assert report.errors == []
    assert (report.codec, report.checkpoints) == ("PCMU", ["greeting"])
    assert len(report.barge_in_ms) == 1
    assert seen == [
        ("start", (stream_id, "audio/x-mulaw")),
        ("played", "greeting"),
        ("dtmf", "5"),
        ("clear", None),
        ("cleared", stream_id),
    ]
    assert handlers[0].get_stream_id() == stream_id


async def serve_pipecat(socket) -> None:
    """A bot on Pipecat's stock transport and serializer: greets, talks when a key is pressed, stops when spoken to."""
    await socket.accept()
    kind, call = await parse_telephony_websocket(socket)
    assert kind == "plivo"
    serializer = PlivoFrameSerializer(call["stream_id"], params=PlivoFrameSerializer.InputParams(auto_hang_up=False))
    transport = FastAPIWebsocketTransport(
        socket, FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=serializer)
    )

    class Bot(FrameProcessor):
        is_stopped = False

        async def process_frame(self, frame, direction):
            await super().process_frame(frame, direction)
            if isinstance(frame, InputDTMFFrame):
                await self.push_frame(OutputAudioRawFrame(tone(440, 3), 8000, 1))
            elif isinstance(frame, InputAudioRawFrame):
                if not self.is_stopped and audioop.rms(frame.audio, 2) > 1000:
                    self.is_stopped = True
                    await self.broadcast_interruption()
            else:
                await self.push_frame(frame, direction)

        async def greet(self):
            await self.push_frame(OutputAudioRawFrame(tone(440, 0.4), 8000, 1), FrameDirection.DOWNSTREAM)

    bot = Bot()
    worker = PipelineWorker(
        Pipeline([transport.input(), bot, transport.output()]),
        params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
        enable_rtvi=False,
    )

    @worker.event_handler("on_pipeline_started")
    async def started(_worker, _frame):
        await bot.greet()

    @transport.event_handler("on_client_disconnected")
    async def gone(_transport, _socket):
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


@contextlib.asynccontextmanager
async def serving(endpoint) -> AsyncIterator[str]:
    app = Starlette(routes=[WebSocketRoute("/ws", endpoint)])
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="websockets-sansio")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(5):
        while not server.started:
            await asyncio.sleep(0.005)
    yield f"ws://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/ws"
    server.should_exit = True
    await task


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_pipecats_stock_plivo_serializer_is_driven_by_the_superset():
    async with serving(serve_pipecat) as url:
        report = await place_call(CallPlan(stream_url=url, dialect=Dialect.SUPERSET, steps=STEPS, max_s=20))

    assert report.outcome is CallOutcome.COMPLETED, report
    assert report.errors == []
    assert report.frames_wrong_format == 0
    assert report.clear_numbers == [0]
    assert len(report.barge_in_ms) == 1
    assert report.barge_in_ms[0] < 600
    assert report.heard_s < 2.5
