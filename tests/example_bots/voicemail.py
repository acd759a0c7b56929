"""Outbound: is it a person or an answering machine? To a machine, a message is left."""

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.classifiers.llm.classifier import LLMClassifier
from pipecat.extensions.voicemail.voicemail_detector import VoicemailDetector
from pipecat.frames.frames import EndWorkerFrame, TTSSpeakFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.runner.utils import create_transport

from tests.example_bots.parts import TRANSPORTS, end_with_the_caller, make_llm, make_stt, make_tts, phone_pipeline, run


async def bot(runner_args):
    transport = await create_transport(runner_args, TRANSPORTS)
    stt, llm, tts = make_stt(), make_llm(), make_tts()
    detector = VoicemailDetector(classifier=LLMClassifier(llm=make_llm("")), voicemail_response_delay=0.5)

    @detector.event_handler("on_voicemail_detected")
    async def on_voicemail_detected(processor):
        await processor.push_frame(TTSSpeakFrame("This is the clinic. Please call us back, caller 9."))
        await processor.push_frame(EndWorkerFrame())

    user, assistant = LLMContextAggregatorPair(
        LLMContext(), user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    worker = phone_pipeline(
        transport.input(),
        stt,
        detector.detector(),
        user,
        llm,
        tts,
        detector.gate(),
        transport.output(),
        assistant,
    )
    end_with_the_caller(transport, worker)
    await run(runner_args, worker)
