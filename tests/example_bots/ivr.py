"""Outbound: the bot finds its way through somebody else's menu."""

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.extensions.ivr.ivr_navigator import IVRNavigator, IVRStatus
from pipecat.frames.frames import EndWorkerFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.runner.utils import create_transport

from tests.example_bots.parts import TRANSPORTS, end_with_the_caller, make_llm, make_stt, make_tts, phone_pipeline, run

STATUSES = []


async def bot(runner_args):
    transport = await create_transport(runner_args, TRANSPORTS)
    stt, tts = make_stt(), make_tts()
    navigator = IVRNavigator(llm=make_llm(""), ivr_prompt="Get to the billing department")

    @navigator.event_handler("on_ivr_status_changed")
    async def on_ivr_status_changed(processor, status):
        STATUSES.append(status)
        if status == IVRStatus.COMPLETED:
            await processor.push_frame(EndWorkerFrame())

    user, assistant = LLMContextAggregatorPair(
        LLMContext(), user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    worker = phone_pipeline(transport.input(), stt, user, navigator, tts, transport.output(), assistant)
    end_with_the_caller(transport, worker)
    await run(runner_args, worker)
