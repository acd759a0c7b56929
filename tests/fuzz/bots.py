"""The bot of the hostile callers: a pipeline that hears and says nothing, so that what is tested is all before it."""

from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.runner.types import RunnerArguments

from tests.fleet.bots import QUIETLY, run
from worker.pipeline.transport import SFVoPITransport


async def listens(runner_args: RunnerArguments) -> None:
    """In and out, and nothing between."""
    transport = SFVoPITransport.for_call(runner_args)
    pipeline = PipelineWorker(Pipeline([transport.input(), transport.output()]), **QUIETLY)

    @transport.event_handler("on_client_disconnected")
    async def leave(_: object, __: object) -> None:
        await pipeline.cancel()

    await run(pipeline)
