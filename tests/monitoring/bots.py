"""A bot that remembers nothing for a session after its own, and whose greeting is spoken by the provider each time."""

from pipecat.runner.types import RunnerArguments

from tests.fleet.bots import run
from worker.bots import receptionist
from worker.pipeline import services
from worker.pipeline.transport import SFVoPITransport


async def forgetful(runner_args: RunnerArguments) -> None:
    """The receptionist, without its recording and without keeping the conversation."""
    transport = SFVoPITransport.for_call(runner_args)
    pipeline = receptionist.build_pipeline(transport, services.current_settings())

    @transport.event_handler("on_client_connected")
    async def greet(_: object, __: object) -> None:
        await pipeline.queue_frames([receptionist.TTSSpeakFrame("Good morning.")])

    await run(pipeline)
