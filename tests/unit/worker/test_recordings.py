"""What is said to every caller in the same words is spoken once, and then played."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from pipecat.frames.frames import ErrorFrame, Frame, TTSAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.workers.runner import WorkerRunner

from worker.pipeline import recordings
from worker.pipeline.checkpoints import checkpoint
from worker.pipeline.recordings import Recording
from worker.pipeline.transport import SFVoPITransport

TEXT = "Hello. This is what everybody hears."


class Voice(TTSService):
    """Half a second of sound for each text."""

    def __init__(self, fails: bool = False, hangs: bool = False) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            settings=TTSSettings(model=None, voice=None, language=None),
        )
        self.said: list[str] = []
        self._fails, self._hangs = fails, hangs

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        self.said.append(text)
        if self._hangs:
            await asyncio.sleep(3600)
        if self._fails:
            yield ErrorFrame("no voice today")
            return
        for _ in range(5):
            yield TTSAudioRawFrame(b"\x00\x10" * 800, self.sample_rate, 1, context_id=context_id)


async def a_call(start_worker: Any, recording: Recording) -> tuple[Any, Voice, LLMContext]:
    """A fleet whose bot greets with this recording."""
    voice, context = Voice(), LLMContext()

    async def bot(runner_args: Any) -> None:
        transport = SFVoPITransport.for_call(runner_args)
        _, assistant = LLMContextAggregatorPair(context)
        pipeline = PipelineWorker(
            Pipeline([transport.input(), voice, transport.output(), assistant]),
            params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
            enable_rtvi=False,
        )

        @transport.event_handler("on_client_connected")
        async def greet(_: Any, __: Any) -> None:
            await transport.say(recording)
            await pipeline.queue_frame(checkpoint("said"))

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(pipeline)
        await runner.run()

    fleet = await start_worker()
    fleet.bots.bots["test:greets"] = bot
    return fleet, voice, context


async def test_a_recording_is_played_without_the_voice_and_stands_in_the_conversation(
    start_worker: Any, until: Any
) -> None:
    recording = Recording(TEXT)
    await recording.record(Voice())
    assert recording.is_recorded
    fleet, voice, context = await a_call(start_worker, recording)
    carrier = await fleet.call(bot="test:greets")
    await until(lambda: carrier.events("checkpoint"))
    assert carrier.heard_s == pytest.approx(0.5, abs=0.1)
    await until(lambda: context.messages)
    assert [(message["role"], message["content"]) for message in context.messages] == [("assistant", TEXT)]
    assert not voice.said


async def test_what_was_not_recorded_is_said_by_the_bots_voice(start_worker: Any, until: Any) -> None:
    fleet, voice, context = await a_call(start_worker, Recording(TEXT))
    carrier = await fleet.call(bot="test:greets")
    await until(lambda: carrier.events("checkpoint"))
    assert voice.said
    assert carrier.heard_s == pytest.approx(0.5 * len(voice.said), abs=0.1)
    await until(lambda: context.messages)
    assert context.messages[0]["content"] == TEXT


async def test_it_is_spoken_once_whoever_asks_for_it() -> None:
    recording, second = Recording(TEXT), Voice()
    await recording.record(Voice())
    await recording.record(second)
    assert not second.said


@pytest.mark.parametrize("voice", [{"fails": True}, {"hangs": True}], ids=["fails", "hangs"])
async def test_a_voice_that_says_nothing_records_nothing_and_holds_nobody_up(
    voice: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "DEADLINE_S", 0.5)
    recording = Recording(TEXT)
    async with asyncio.timeout(10):
        await recording.record(Voice(**voice))
    assert not recording.is_recorded
