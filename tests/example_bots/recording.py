"""The conversation is recorded, both sides."""

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import TTSSpeakFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.audio.audio_buffer_processor import AudioBufferProcessor
from pipecat.runner.utils import create_transport

from tests.example_bots.parts import TRANSPORTS, end_with_the_caller, make_llm, make_stt, make_tts, phone_pipeline, run

RECORDED = []  # where an example would write a file


async def bot(runner_args):
    transport = await create_transport(runner_args, TRANSPORTS)
    stt, llm, tts = make_stt(), make_llm(), make_tts()
    user, assistant = LLMContextAggregatorPair(
        LLMContext(), user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    recorder = AudioBufferProcessor(num_channels=2)
    worker = phone_pipeline(transport.input(), stt, user, llm, tts, transport.output(), recorder, assistant)

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport, client):
        await recorder.start_recording()
        await worker.queue_frame(TTSSpeakFrame("This call is recorded. What can I do for you?"))

    @recorder.event_handler("on_audio_data")
    async def on_audio_data(buffer, audio, sample_rate, num_channels):
        RECORDED.append((audio, sample_rate, num_channels))

    end_with_the_caller(transport, worker)
    await run(runner_args, worker)
