"""Bots for the fleet's tests: the receptionist, and bots that end badly. Run inside real workers."""

from pipecat.frames.frames import EndFrame, Frame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.types import RunnerArguments
from pipecat.workers.runner import WorkerRunner
from pydantic import SecretStr

from worker.bots import receptionist as front_desk
from worker.pipeline import services
from worker.pipeline.transport import SFVoPITransport

receptionist = front_desk.bot


class SwallowsEnd(FrameProcessor):
    """Lets everything by but the frame that would end the pipeline."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, EndFrame):
            await self.push_frame(frame, direction)


async def swallows_its_end(runner_args: RunnerArguments) -> None:
    """A pipeline that never ends by itself: it has no handlers, and its EndFrame is lost on the way."""
    transport = SFVoPITransport.for_call(runner_args)
    await run(PipelineWorker(Pipeline([transport.input(), SwallowsEnd(), transport.output()]), **QUIETLY))


async def raises(runner_args: RunnerArguments) -> None:
    """A bot with a bug."""
    transport = SFVoPITransport.for_call(runner_args)
    if not runner_args.body.get("rehearsal"):
        raise RuntimeError("a bot with a bug")
    await run(PipelineWorker(Pipeline([transport.input(), transport.output()]), **QUIETLY))


async def provider_down(runner_args: RunnerArguments) -> None:
    """The receptionist, whose voice provider refuses every connection."""
    transport = SFVoPITransport.for_call(runner_args)
    settings = services.current_settings()
    nobody = settings.model_copy(update={"cartesia_url": "ws://127.0.0.1:9/", "cartesia_api_key": SecretStr("none")})
    pipeline = front_desk.build_pipeline(transport, nobody)

    @transport.event_handler("on_client_connected")
    async def greet(_: object, __: object) -> None:
        await pipeline.queue_frames([front_desk.TTSSpeakFrame(front_desk.GREETING.text)])

    await run(pipeline)


async def ends_at_once(runner_args: RunnerArguments) -> None:
    """Greets and leaves."""
    transport = SFVoPITransport.for_call(runner_args)
    pipeline = front_desk.build_pipeline(transport, services.current_settings())

    @transport.event_handler("on_client_connected")
    async def greet(_: object, __: object) -> None:
        await pipeline.queue_frames([front_desk.TTSSpeakFrame("Goodbye."), EndFrame()])

    await run(pipeline)


QUIETLY = {
    "params": PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
    "enable_rtvi": False,
    "cancel_on_idle_timeout": False,
}


async def run(pipeline: PipelineWorker) -> None:
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(pipeline)
    await runner.run()
