"""Keys: a menu without a language model, and a number typed in and ended with #.

`dtmf` on the wire reaches a bot as `InputDTMFFrame`, whose `button.value` is one of 0-9 * #. Keys that are pressed
before the stream is up are lost; the carrier does not repeat them.
"""

from pipecat.frames.frames import EndWorkerFrame, Frame, TranscriptionFrame, TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.dtmf_aggregator import DTMFAggregator
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.types import RunnerArguments
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from worker.pipeline.dtmf import DTMFRouter
from worker.pipeline.services import current_settings, make_tts
from worker.pipeline.transport import SFVoPITransport

MENU = "Press star for the opening hours, or type your order number and then the pound key."
HOURS = "We open at nine in the morning."


class ReadBack(FrameProcessor):
    """Says the number that was typed, and ends the call. Pipecat's aggregator makes it a transcription."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, TranscriptionFrame):
            await self.push_frame(frame, direction)
            return
        number = frame.text.removesuffix("#")
        await self.push_frame(TTSSpeakFrame(f"Your order number is {' '.join(number)}. Goodbye."))
        await self.push_frame(EndWorkerFrame(reason="menu done"))


async def bot(runner_args: RunnerArguments) -> None:
    """Answer one call."""
    transport = SFVoPITransport.for_call(runner_args)
    pipeline = PipelineWorker(
        Pipeline(
            [
                transport.input(),
                DTMFRouter({"*": HOURS}),  # said at once; digits go on to …
                DTMFAggregator(prefix="", timeout=3.0),  # … which collects them
                ReadBack(),
                make_tts(current_settings()),
                transport.output(),
            ]
        ),
        params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
        enable_rtvi=False,
    )

    @transport.event_handler("on_client_connected")
    async def greet(_: BaseTransport, __: object) -> None:
        await pipeline.queue_frame(TTSSpeakFrame(MENU))

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(pipeline)
    await runner.run()
