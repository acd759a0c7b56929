"""A menu by keys: what was typed comes to the model as a sentence."""

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import TTSSpeakFrame
from pipecat.processors.aggregators.dtmf_aggregator import DTMFAggregator
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.runner.utils import create_transport

from tests.example_bots.parts import TRANSPORTS, end_with_the_caller, make_llm, make_stt, make_tts, phone_pipeline, run


async def bot(runner_args):
    transport = await create_transport(runner_args, TRANSPORTS)
    stt, llm, tts = make_stt(), make_llm(), make_tts()
    user, assistant = LLMContextAggregatorPair(
        LLMContext(), user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    keys = DTMFAggregator(timeout=1.0)
    worker = phone_pipeline(transport.input(), keys, stt, user, llm, tts, transport.output(), assistant)

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport, client):
        await worker.queue_frame(TTSSpeakFrame("Type your number, and the pound key."))

    end_with_the_caller(transport, worker)
    await run(runner_args, worker)
