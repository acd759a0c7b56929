"""The call's observer is told of the same frames as one of Pipecat's, and of each once."""

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    LLMTextFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.pipeline.parallel_pipeline import ParallelPipeline
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from worker.pipeline import observer
from worker.pipeline.observer import ACTS, CallObserver

Seen = list[tuple[str, int]]


class Stock(BaseObserver):
    """Pipecat's way: a queue for each observer."""

    def __init__(self) -> None:
        super().__init__(observe_every_push=False)
        self.seen: Seen = []

    async def on_push_frame(self, data: FramePushed) -> None:
        if isinstance(data.frame, tuple(ACTS)):
            self.seen.append((type(data.frame).__name__, data.frame.id))


class PassOn(FrameProcessor):
    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


class Troubled(PassOn):
    """Tells both ways, and of an error, with each transcript."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TranscriptionFrame):
            await self.broadcast_frame(UserStartedSpeakingFrame)
            await self.push_error("a trouble")


async def test_it_is_told_of_what_a_stock_observer_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    ours: Seen = []

    def note(_: CallObserver, frame: Any, __: FrameProcessor) -> None:
        ours.append((type(frame).__name__, frame.id))

    monkeypatch.setattr(observer, "ACTS", dict.fromkeys(ACTS, note))
    monkeypatch.setattr(observer, "_ACT_OF", {})
    stock = Stock()
    pipeline = PipelineWorker(
        Pipeline([PassOn(), Troubled(), ParallelPipeline([PassOn()], [PassOn()]), PassOn()]),
        params=PipelineParams(),
        observers=[stock],
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
    )
    watch = Mock(pipeline_started=asyncio.Event())
    CallObserver(watch, pipeline)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(pipeline)
    running = asyncio.create_task(runner.run())
    async with asyncio.timeout(10):
        await watch.pipeline_started.wait()
        for number in range(5):
            await pipeline.queue_frame(InputAudioRawFrame(bytes(320), 8000, 1))
            await pipeline.queue_frame(InterimTranscriptionFrame("so", "caller", "now"))
            await pipeline.queue_frame(TranscriptionFrame(f"so {number}", "caller", "now"))
            for word in range(40):
                await pipeline.queue_frame(LLMTextFrame(f"{word} "))
        await pipeline.queue_frame(EndFrame())
        await running
    assert sorted(ours) == sorted(stock.seen)
    assert {name for name, _ in ours} == {
        "InterimTranscriptionFrame",
        "TranscriptionFrame",
        "LLMTextFrame",
        "UserStartedSpeakingFrame",
        "ErrorFrame",
        "EndFrame",
    }
    assert len(set(ours)) == len(ours)
