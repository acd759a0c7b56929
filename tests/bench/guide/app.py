"""The guide's application, put together as it puts it together: FastAPI, a pipeline of stock parts per call.

Written anew with the names of Pipecat 1.14, and with what its text promises where its code would not do it there: the
VAD stands in the user aggregator, or nothing would be heard, and a caller who leaves ends the pipeline. All else is as
it comes: 16 kHz, Silero and smart-turn models of each call's own, RTVI, metrics, Pipecat's log on standard error.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import Frame, InputDTMFFrame, LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from tests.bench.guide.serializer import SFVoPISerializer
from tests.bench.providers import BenchLLM, BenchSTT, BenchTTS
from worker.capacity.loop_lag import sample_this_loop

RATE = 16000
PROMPT = "You are a friendly receptionist on the telephone. Keep your answers short."


class DTMFRouter(FrameProcessor):
    """Logs keys."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputDTMFFrame):
            print(f"key: {frame.button}")
        await self.push_frame(frame, direction)


def make_app(url: str, *, has_smart_turn: bool) -> FastAPI:
    """The application whose streams come to `url`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sample_this_loop()
        yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/webhook/answer")
    async def answer(request: Request) -> dict[str, Any]:
        await request.json()
        return {"stream": {"url": url, "codec": "PCMA", "sample_rate": 8000, "direction": "BOTH"}}

    @app.post("/webhook/hangup")
    async def hangup(request: Request) -> dict[str, Any]:
        await request.json()
        return {"ok": True}

    @app.websocket("/ws")
    async def stream(websocket: WebSocket) -> None:
        await websocket.accept()
        start = json.loads(await websocket.receive_text())
        await run_bot(websocket, start["streamId"], has_smart_turn)

    return app


async def run_bot(websocket: WebSocket, stream_id: str, has_smart_turn: bool) -> None:
    """One call."""
    params = FastAPIWebsocketParams(
        audio_in_enabled=True,
        audio_out_enabled=True,
        add_wav_header=False,
        serializer=SFVoPISerializer(stream_id),
    )
    transport = FastAPIWebsocketTransport(websocket=websocket, params=params)
    # no strategies: the default is smart-turn; without it, the pause that Pipecat's own strategy waits for
    strategies = None if has_smart_turn else UserTurnStrategies(stop=[SpeechTimeoutUserTurnStopStrategy()])
    context = LLMContext([{"role": "system", "content": PROMPT}])
    user, assistant = LLMContextAggregatorPair(
        context,
        user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer(), user_turn_strategies=strategies),
    )
    worker = PipelineWorker(
        Pipeline(
            [
                transport.input(),
                BenchSTT(),
                DTMFRouter(),
                user,
                BenchLLM(),
                BenchTTS(),
                transport.output(),
                assistant,
            ]
        ),
        params=PipelineParams(
            audio_in_sample_rate=RATE, audio_out_sample_rate=RATE, enable_metrics=True, enable_usage_metrics=True
        ),
    )

    @transport.event_handler("on_client_connected")
    async def greet(_: Any, __: Any) -> None:
        await worker.queue_frame(LLMRunFrame())

    @transport.event_handler("on_client_disconnected")
    async def leave(_: Any, __: Any) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
