"""The first bot that one writes: the model greets, and answers. With smart-turn, which is the default."""

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import LLMRunFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.runner.utils import create_transport

from tests.example_bots.parts import TRANSPORTS, end_with_the_caller, make_llm, make_stt, make_tts, phone_pipeline, run


async def run_bot(transport, runner_args):
    stt, llm, tts = make_stt(), make_llm(), make_tts()
    context = LLMContext()
    user, assistant = LLMContextAggregatorPair(
        context, user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    worker = phone_pipeline(transport.input(), stt, user, llm, tts, transport.output(), assistant)

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport, client):
        context.add_message({"role": "developer", "content": "Say hello and briefly introduce yourself."})
        await worker.queue_frames([LLMRunFrame()])

    end_with_the_caller(transport, worker)
    await run(runner_args, worker)


async def bot(runner_args):
    await run_bot(await create_transport(runner_args, TRANSPORTS), runner_args)
