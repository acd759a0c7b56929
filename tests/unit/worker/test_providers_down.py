"""A provider that is down: the caller hears an apology, the call has an outcome, the metric a fault."""

import asyncio
import wave

import pytest
from pipecat.frames.frames import LLMContextFrame, LLMRunFrame, TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker, ProcessorUnusablePolicy
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.services.cartesia.tts import CartesiaTTSService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.workers.runner import WorkerRunner
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from shared.calls.outcome import Reason
from shared.process.server import serve
from worker.pipeline.transport import SFVoPITransport


@pytest.fixture
async def apology_wav(tmp_path):
    path = tmp_path / "sorry.wav"
    with wave.open(str(path), "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(8000)
        recording.writeframes(b"\x00\x10" * 1600)
    return path


@pytest.fixture
async def provider():
    """A provider whose every answer is 401 (a WebSocket's: 403)."""

    async def refuse(_):
        return JSONResponse({"error": {"message": "no", "code": "invalid_api_key"}}, 401)

    server = await serve(Starlette(routes=[Route("/{path:path}", refuse, methods=["GET", "POST"])]), "127.0.0.1", 0)
    yield f"127.0.0.1:{server.port}"
    await server.stop()


def bot_with(service, frame, policy):
    async def bot(arguments):
        transport = SFVoPITransport.for_call(arguments)
        context = LLMContext(messages=[{"role": "user", "content": "hello"}])
        user, assistant = LLMContextAggregatorPair(context)
        worker = PipelineWorker(
            Pipeline([transport.input(), user, service(), transport.output(), assistant]),
            params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
            enable_rtvi=False,
            processor_unusable_policy=policy,
        )

        @transport.event_handler("on_client_connected")
        async def connected(_, __):
            await worker.queue_frame(frame())

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        await runner.run()

    return bot


@pytest.mark.parametrize("policy", list(ProcessorUnusablePolicy))
async def test_a_language_model_that_refuses_the_key(start_worker, provider, apology_wav, policy):
    def service():
        return OpenAILLMService(api_key="wrong", base_url=f"http://{provider}/v1")

    fleet = await start_worker(apology_wav=apology_wav)
    fleet.bots.bots["test:llm"] = bot_with(service, LLMRunFrame, policy)
    carrier = await fleet.call(bot="test:llm")
    assert await carrier.closed(8.0) == 1000
    assert carrier.heard_s == 0.2
    record = await fleet.ended()
    assert (record.reason, record.detail) == (Reason.PROVIDER_ERROR, "llm by openai: auth")
    assert fleet.count("sfvopi_provider_errors_total", provider="openai", fault="auth") == 1
    assert ("provider_error", {"provider": "openai", "fault": "auth", "caller": "greeting"}) in await fleet.timeline()


async def test_a_voice_that_refuses_the_key(start_worker, provider, apology_wav):
    def service():
        settings = CartesiaTTSService.Settings(voice="v")
        return CartesiaTTSService(api_key="wrong", url=f"ws://{provider}/tts", settings=settings)

    fleet = await start_worker(apology_wav=apology_wav)
    speak = lambda: TTSSpeakFrame("hello")  # noqa: E731
    fleet.bots.bots["test:tts"] = bot_with(service, speak, ProcessorUnusablePolicy.CONTINUE)
    carrier = await fleet.call(bot="test:tts")
    assert await carrier.closed(8.0) == 1000
    assert carrier.heard_s == 0.2
    assert (await fleet.ended()).reason == Reason.PROVIDER_ERROR
    assert fleet.count("sfvopi_provider_errors_total", provider="cartesia", fault="auth") >= 1


async def test_a_model_in_another_pipeline_of_the_bots(start_worker, provider, apology_wav):
    """A bot of several workers, whose model is not beside the transport; and which works on after its runner."""

    async def bot(arguments):
        transport = SFVoPITransport.for_call(arguments)
        params = PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000)
        front = PipelineWorker(Pipeline([transport.input(), transport.output()]), params=params, enable_rtvi=False)
        model = OpenAILLMService(api_key="wrong", base_url=f"http://{provider}/v1")
        back = PipelineWorker(Pipeline([model]), params=params, enable_rtvi=False)

        @transport.event_handler("on_client_connected")
        async def connected(_, __):
            await back.queue_frame(LLMContextFrame(LLMContext(messages=[{"role": "user", "content": "hello"}])))

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(front, back)
        await runner.run()
        await asyncio.sleep(1)

    fleet = await start_worker(apology_wav=apology_wav)
    fleet.bots.bots["test:several"] = bot
    carrier = await fleet.call(bot="test:several")
    assert await carrier.closed(8.0) == 1000
    assert carrier.heard_s == 0.2
    record = await fleet.ended(seconds=15)
    assert record.reason == Reason.PROVIDER_ERROR
    assert record.detail.startswith("llm by openai: auth")
