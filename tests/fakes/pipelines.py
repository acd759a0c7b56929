"""A Pipecat pipeline around a few processors, for tests: what is sent in, and what has come out so far."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from pipecat.frames.frames import Frame, InputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from worker.pipeline.finish import close_clients

F = TypeVar("F", bound=Frame)
RATE = 8000


class Sink(FrameProcessor):
    """Keeps every frame that goes past."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        await self.push_frame(frame, direction)


class Running:
    """A pipeline that runs. `seen` is downstream of the processors, `seen_up` upstream."""

    def __init__(self, worker: PipelineWorker, up: Sink, down: Sink) -> None:
        self.worker = worker
        self._up = up
        self._down = down

    def seen(self, kind: type[F]) -> list[F]:
        return [frame for frame in self._down.frames if isinstance(frame, kind)]

    def seen_up(self, kind: type[F]) -> list[F]:
        return [frame for frame in self._up.frames if isinstance(frame, kind)]

    async def send(self, *frames: Frame) -> None:
        for frame in frames:
            await self.worker.queue_frame(frame)

    async def until(self, is_so: Callable[[], object], deadline_s: float = 5) -> None:
        """Wait until something is so, and fail after the deadline."""
        async with asyncio.timeout(deadline_s):
            while not is_so():
                await asyncio.sleep(0.01)

    async def until_seen(self, kind: type[F], deadline_s: float = 5) -> F:
        await self.until(lambda: self.seen(kind), deadline_s)
        return self.seen(kind)[0]


@asynccontextmanager
async def running(*processors: FrameProcessor) -> AsyncIterator[Running]:
    """The processors, in a pipeline at 8 kHz that is started, and cancelled at the end."""
    up, down = Sink(), Sink()
    worker = PipelineWorker(
        Pipeline([up, *processors, down]),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
        enable_rtvi=False,
        cancel_on_idle_timeout=False,
    )
    started = asyncio.Event()

    async def start(_: PipelineWorker, __: Frame) -> None:
        started.set()

    worker.add_event_handler("on_pipeline_started", start)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    task = asyncio.create_task(runner.run())
    try:
        async with asyncio.timeout(10):
            await started.wait()
        yield Running(worker, up, down)
    finally:
        await worker.cancel()
        await task
        await close_clients(worker)


def audio_frames(pcm: bytes, rate: int = RATE) -> Sequence[InputAudioRawFrame]:
    """PCM as the transport would deliver it: 20 ms a frame."""
    size = rate // 50 * 2
    return [
        InputAudioRawFrame(audio=pcm[start : start + size], sample_rate=rate, num_channels=1)
        for start in range(0, len(pcm), size)
    ]
