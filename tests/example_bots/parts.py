"""What the examples share: services by environment, parameters for each transport, and the run of a pipeline."""

import os

from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from pipecat.services.cartesia.tts import CartesiaTTSService
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams
from pipecat.workers.runner import WorkerRunner


def phone_params():
    return FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True)


def websocket_params():
    return FastAPIWebsocketParams(
        audio_in_enabled=True, audio_out_enabled=True, add_wav_header=False, serializer=ProtobufFrameSerializer()
    )


TRANSPORTS = {
    "twilio": phone_params,
    "websocket": websocket_params,
    "webrtc": lambda: TransportParams(audio_in_enabled=True, audio_out_enabled=True),
}


def make_stt():
    return DeepgramSTTService(api_key=os.environ["DEEPGRAM_API_KEY"], base_url=os.environ.get("DEEPGRAM_URL", ""))


def make_llm(instruction="You are a friendly assistant on the telephone."):
    return OpenAILLMService(
        api_key=os.environ["OPENAI_API_KEY"],
        settings=OpenAILLMService.Settings(model="gpt-4.1", system_instruction=instruction),
    )


def make_tts():
    return CartesiaTTSService(
        api_key=os.environ["CARTESIA_API_KEY"],
        url=os.environ.get("CARTESIA_URL", "wss://api.cartesia.ai/tts/websocket"),
        settings=CartesiaTTSService.Settings(voice="71a7ad14-091c-4e8e-a314-022ece01c121"),
    )


def phone_pipeline(*steps, **options):
    return PipelineWorker(
        Pipeline(list(steps)),
        params=PipelineParams(
            audio_in_sample_rate=8000, audio_out_sample_rate=8000, enable_metrics=True, enable_usage_metrics=True
        ),
        **options,
    )


def end_with_the_caller(transport, worker):
    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(transport, client):
        await worker.cancel()


async def run(runner_args, *workers):
    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    await runner.add_workers(*workers)
    await runner.run()
