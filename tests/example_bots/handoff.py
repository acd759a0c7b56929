"""Two agents, each a worker of its own, behind one line: the first hands the caller over to the second."""

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.bus.bridge_processor import BusBridgeProcessor
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.runner.utils import create_transport
from pipecat.services.llm_service import FunctionCallParams
from pipecat.workers.llm import LLMWorker, LLMWorkerActivationArgs, tool
from pipecat.workers.runner import WorkerRunner

from tests.example_bots.parts import TRANSPORTS, end_with_the_caller, make_llm, make_stt, make_tts, phone_pipeline


class Greeter(LLMWorker):
    @tool
    async def transfer_to_support(self, params: FunctionCallParams):
        """Hand the caller over to support."""
        await params.result_callback({"ok": True})
        await self.activate_worker(
            "support",
            args=LLMWorkerActivationArgs(messages=[{"role": "developer", "content": "Introduce yourself as support."}]),
            deactivate_self=True,
        )


class Support(LLMWorker):
    @tool
    async def end_conversation(self, params: FunctionCallParams):
        """The caller is done."""
        await params.result_callback({"ok": True})
        await self.end(reason="the caller is done")


async def bot(runner_args):
    transport = await create_transport(runner_args, TRANSPORTS)
    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    stt, tts = make_stt(), make_tts()
    user, assistant = LLMContextAggregatorPair(
        LLMContext(), user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    bridge = BusBridgeProcessor(bus=runner.bus, worker_name="line")
    line = phone_pipeline(transport.input(), stt, user, bridge, tts, transport.output(), assistant, name="line")
    greeter = Greeter("greeter", llm=make_llm("You greet callers."), bridged=())
    support = Support("support", llm=make_llm("You are support."), bridged=())

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport, client):
        hello = [{"role": "developer", "content": "Greet the caller."}]
        await line.activate_worker("greeter", args=LLMWorkerActivationArgs(messages=hello))

    end_with_the_caller(transport, line)
    await runner.add_workers(line, greeter, support)
    await runner.run()
