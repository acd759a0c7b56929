"""Ways to end a pipeline, from mild to final. Each only asks: whoever asks waits, with a deadline, and asks harder."""

import asyncio
import inspect

from pipecat.frames.frames import CancelFrame
from pipecat.pipeline.worker import PipelineWorker
from pipecat.services.ai_service import AIService

from worker.pipeline.anatomy import processors_in

ASK_DEADLINE_S = 1.0
CLOSE_DEADLINE_S = 1.0
OWN_ROOMS = ("pipecat.", "worker.pipeline.")  # whose services make one client per call


async def ask_to_finish(pipeline: PipelineWorker) -> None:
    """An EndFrame behind all that is queued: everything is said."""
    await pipeline.stop_when_done()


async def ask_to_cancel(pipeline: PipelineWorker) -> None:
    """A CancelFrame behind what the pipeline was given: works unless it waits for an EndFrame that went astray."""
    await pipeline.cancel()


async def force(pipeline: PipelineWorker) -> None:
    """A CancelFrame past everything, straight into the processors: works where `cancel` is not listened to."""
    try:
        async with asyncio.timeout(ASK_DEADLINE_S):
            await pipeline.pipeline.queue_frame(CancelFrame())
    except TimeoutError:
        return


async def close_clients(pipeline: PipelineWorker) -> None:
    """Close the HTTP clients of stock services: Pipecat makes one per service and call, and leaves its sockets open.

    A client that a bot brought itself may be shared by calls, and is the bot's to close.
    """
    for processor in processors_in(pipeline.pipeline):
        client = getattr(processor, "_client", None)
        if not isinstance(processor, AIService) or type(client).__module__.partition(".")[0] != "openai":
            continue
        if not getattr(type(processor), "create_client", close_clients).__module__.startswith(OWN_ROOMS):
            continue
        close = getattr(client, "close", None)
        if inspect.iscoroutinefunction(close):
            try:
                async with asyncio.timeout(CLOSE_DEADLINE_S):
                    await close()
            except (TimeoutError, OSError):
                continue
