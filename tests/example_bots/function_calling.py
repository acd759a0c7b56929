"""Tools: one by its schema, one as a plain function."""

from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import EndWorkerFrame, TTSSpeakFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.runner.utils import create_transport
from pipecat.services.llm_service import FunctionCallParams

from tests.example_bots.parts import TRANSPORTS, end_with_the_caller, make_llm, make_stt, make_tts, phone_pipeline, run

WEATHER = FunctionSchema(
    name="get_current_weather",
    description="Get the current weather",
    properties={"location": {"type": "string", "description": "The city"}},
    required=["location"],
)


async def fetch_weather(params: FunctionCallParams):
    await params.result_callback({"conditions": "nice", "where": params.arguments["location"]})


async def hang_up(params: FunctionCallParams):
    """End the call."""
    await params.result_callback({"ok": True})
    await params.llm.push_frame(EndWorkerFrame())


async def bot(runner_args):
    transport = await create_transport(runner_args, TRANSPORTS)
    stt, llm, tts = make_stt(), make_llm(), make_tts()
    llm.register_function("get_current_weather", fetch_weather)

    @llm.event_handler("on_function_calls_started")
    async def on_function_calls_started(service, function_calls):
        if function_calls[0].function_name == "get_current_weather":
            await tts.queue_frame(TTSSpeakFrame("Let me check on that."))

    user, assistant = LLMContextAggregatorPair(
        LLMContext(tools=ToolsSchema(standard_tools=[WEATHER, hang_up])),
        user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer()),
    )
    worker = phone_pipeline(transport.input(), stt, user, llm, tts, transport.output(), assistant)

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport, client):
        await worker.queue_frame(TTSSpeakFrame("Which city are you interested in?"))

    end_with_the_caller(transport, worker)
    await run(runner_args, worker)
