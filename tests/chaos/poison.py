"""Bots that kill the process that they run in, each in its own way, at a number of its own. For real workers."""

import asyncio
import ctypes
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.runner.types import RunnerArguments
from pipecat.workers.runner import WorkerRunner

from worker.pipeline.transport import SFVoPITransport

Deed = Callable[[], Awaitable[None]]
MB = 1024 * 1024
LATE_S = 8.0
SLEEPS_S = 6.0
EATS_MB, PIECE_MB, PIECE_S = 900, 10, 0.01  # so much and no more: the limit is the workers', not the machine's


async def crash() -> None:
    """A fault in native code."""
    ctypes.string_at(0)


async def leave() -> None:
    os._exit(1)


async def sleep() -> None:
    """A slow request, made with a library that knows no event loop."""
    time.sleep(SLEEPS_S)


async def spin() -> None:
    while True:
        pass


async def eat() -> None:
    held = []
    for _ in range(EATS_MB // PIECE_MB):
        held.append(b"\1" * (PIECE_MB * MB))
        await asyncio.sleep(PIECE_S)
    await asyncio.sleep(60)


def does(deed: Deed, after_s: float = 0.0) -> Callable[[RunnerArguments], Awaitable[None]]:
    """A bot that does it so long after its call has come."""

    async def bot(runner_args: RunnerArguments) -> None:
        transport = SFVoPITransport.for_call(runner_args)
        pipeline = PipelineWorker(
            Pipeline([transport.input(), transport.output()]),
            params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
            enable_rtvi=False,
            cancel_on_idle_timeout=False,
        )

        @transport.event_handler("on_client_connected")
        async def connected(_: Any, __: Any) -> None:
            await asyncio.sleep(after_s)
            if not runner_args.body.get("rehearsal"):
                await deed()

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(pipeline)
        await runner.run()

    return bot


crashes, leaves, sleeps, spins, eats = map(does, (crash, leave, sleep, spin, eat))
crashes_late = does(crash, LATE_S)
