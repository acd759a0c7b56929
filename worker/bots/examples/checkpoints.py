"""Checkpoints: go on when the caller has heard something, not when it was sent.

`checkpoint` is an `OutputTransportMessageFrame`, which keeps its place behind the audio; the carrier's `playedStream`
comes back as an `InputTransportMessageFrame`. It never comes if the audio was cleared, so there is a deadline as well.
"""

import asyncio

from pipecat.frames.frames import EndFrame, TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.runner.types import RunnerArguments
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from worker.pipeline.checkpoints import CheckpointWatcher, checkpoint
from worker.pipeline.services import current_settings, make_tts
from worker.pipeline.transport import SFVoPITransport

NOTICE = "This call may be recorded."
QUESTION = "Now the recording is running. Goodbye."
DEADLINE_S = 10.0


async def bot(runner_args: RunnerArguments) -> None:
    """Give notice, and start only when it has been heard."""
    transport = SFVoPITransport.for_call(runner_args)
    watcher = CheckpointWatcher()
    pipeline = PipelineWorker(
        Pipeline([transport.input(), watcher, make_tts(current_settings()), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
        enable_rtvi=False,
    )
    notice_heard = asyncio.Event()

    @watcher.event_handler("on_checkpoint_played")
    async def played(_: CheckpointWatcher, name: str) -> None:
        if name == "notice":
            notice_heard.set()

    @transport.event_handler("on_client_connected")
    async def begin(_: BaseTransport, __: object) -> None:
        await pipeline.queue_frames([TTSSpeakFrame(NOTICE), checkpoint("notice")])
        try:
            async with asyncio.timeout(DEADLINE_S):
                await notice_heard.wait()
        except TimeoutError:
            await pipeline.queue_frame(EndFrame(reason="the notice was not heard"))
            return
        await pipeline.queue_frames([TTSSpeakFrame(QUESTION), EndFrame()])

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(pipeline)
    await runner.run()
