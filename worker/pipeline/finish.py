"""Ways to end a pipeline, from mild to final. Each only asks: whoever asks waits, with a deadline, and asks harder.

And whether code of the bot's still runs for it: a handler of an event, or a tool.
"""

import asyncio
import inspect

from pipecat.bus import BusEndWorkerMessage
from pipecat.frames.frames import CancelFrame
from pipecat.pipeline.worker import PipelineWorker
from pipecat.services.ai_service import AIService
from pipecat.services.llm_service import LLMService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.workers.base_worker import BaseWorker

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


async def ask_all_to_cancel(pipeline: PipelineWorker) -> None:
    """The same, and the end of the bot's runner with whatever runs beside the pipeline: nothing is waited for."""
    await ask_to_cancel(pipeline)
    if (runner := pipeline._worker_runner) is not None:
        await runner.cancel("nobody waits for its work")


async def force(pipeline: PipelineWorker) -> None:
    """A CancelFrame past everything, straight into the processors: works where `cancel` is not listened to."""
    try:
        async with asyncio.timeout(ASK_DEADLINE_S):
            await pipeline.pipeline.queue_frame(CancelFrame())
    except TimeoutError:
        return


def pipelines_beside(pipeline: PipelineWorker) -> list[PipelineWorker]:
    """The other pipelines of a bot of several workers, begun or not."""
    runner = pipeline._worker_runner
    workers = [entry.worker for entry in runner._entries.values()] if runner is not None else []
    return [worker for worker in workers if isinstance(worker, PipelineWorker) and worker is not pipeline]


async def clean_up(pipeline: PipelineWorker) -> None:
    """End the processors of a pipeline that was only stopped."""
    try:
        async with asyncio.timeout(ASK_DEADLINE_S):
            await pipeline.pipeline.cleanup()
    except TimeoutError:
        return


def helpers_of(pipeline: PipelineWorker) -> list[BaseWorker]:
    """The other workers of the bot's runner that still run."""
    runner = pipeline._worker_runner
    entries = list(runner._entries.values()) if runner is not None else []
    running = [entry.worker for entry in entries if entry.runner_task is not None and not entry.runner_task.done()]
    return [worker for worker in running if worker is not pipeline and worker.parent is None]


async def end_helpers(pipeline: PipelineWorker) -> None:
    """Ask them to end: those that only wait for messages never do it themselves."""
    for worker in helpers_of(pipeline):
        ask = BusEndWorkerMessage(source=pipeline.name, target=worker.name, reason="the call is over")
        await pipeline.send_bus_message(ask)


def is_at_work(pipeline: PipelineWorker | None) -> bool:
    """Whether a handler of an event, or a tool, runs at this moment."""
    if pipeline is None:
        return False
    if pipeline._event_tasks:
        return True
    for processor in processors_in(pipeline.pipeline):
        if processor._event_tasks or (isinstance(processor, LLMService) and processor._function_call_tasks):
            return True
        if isinstance(processor, BaseInputTransport):
            transport = getattr(processor, "_transport", None)
            if getattr(transport, "_event_tasks", None):
                return True
    return False


async def close_clients(pipeline: PipelineWorker) -> None:
    """Close the HTTP clients of stock services: Pipecat makes one per service and call, and leaves its sockets open.

    A client that a bot brought itself may be shared by calls, and is the bot's to close.
    """
    pipelines = (pipeline, *pipelines_beside(pipeline))
    for processor in (each for one in pipelines for each in processors_in(one.pipeline)):
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
