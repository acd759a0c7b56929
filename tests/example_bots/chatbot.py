"""A telephone's chatbot, as Pipecat has one for each carrier: it looks who calls, and greets by name."""

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import TTSSpeakFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.runner.utils import create_transport

from tests.example_bots.parts import (
    end_with_the_caller,
    make_llm,
    make_stt,
    make_tts,
    phone_params,
    phone_pipeline,
    run,
    websocket_params,
)


async def answer(runner_args, *carriers):
    params = {**dict.fromkeys(carriers, phone_params), "websocket": websocket_params}
    transport = await create_transport(runner_args, params)
    caller = runner_args.call_data.from_number if runner_args.call_data else None
    stt, llm, tts = make_stt(), make_llm(), make_tts()
    user, assistant = LLMContextAggregatorPair(
        LLMContext(), user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    worker = phone_pipeline(transport.input(), stt, user, llm, tts, transport.output(), assistant)

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport, client):
        await worker.queue_frame(TTSSpeakFrame(f"Hello, {caller or 'whoever you are'}."))

    end_with_the_caller(transport, worker)
    await run(runner_args, worker)
