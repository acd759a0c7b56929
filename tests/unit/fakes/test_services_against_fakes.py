"""Pipecat's real service classes, made from settings, against fake providers at the wire."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.services.llm_service import FunctionCallParams
from pydantic import SecretStr

from shared.settings import WorkerSettings
from tests.fakes.faults import Fault
from tests.fakes.pipelines import audio_frames, running
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import caller_speech, heard_voices, phrase
from worker.pipeline.services import make_llm, make_stt, make_tts


@pytest.fixture
async def fakes() -> AsyncIterator[FakeProviders]:
    async with FakeProviders(stt_s=0.02, llm_s=0.02, tts_s=0.02) as fakes:
        yield fakes


def settings(fakes: FakeProviders, **other: str) -> WorkerSettings:
    given = {name.lower(): value for name, value in fakes.env.items()}
    names = {
        "stt": given.pop("sfvopi_stt"),
        "llm": given.pop("sfvopi_llm"),
        "tts": given.pop("sfvopi_tts"),
    }
    return WorkerSettings(token_secrets=SecretStr("secret"), _env_file=None, **{**given, **names, **other})  # type: ignore[arg-type]


def spoken(pcm: bytes) -> list[Frame]:
    return [
        VADUserStartedSpeakingFrame(start_secs=0.1),
        *audio_frames(pcm),
        VADUserStoppedSpeakingFrame(stop_secs=0.2),
    ]


def heard(frames: list[TTSAudioRawFrame]) -> dict[int, float]:
    assert {frame.sample_rate for frame in frames} == {8000}
    return heard_voices(b"".join(frame.audio for frame in frames))


async def test_deepgram_recognises_by_finalize_when_the_caller_pauses(fakes: FakeProviders) -> None:
    async with running(make_stt(settings(fakes))) as pipeline:
        await pipeline.send(*spoken(caller_speech(7)))
        transcription = await pipeline.until_seen(TranscriptionFrame)
        assert (transcription.text, transcription.finalized) == (phrase(7), True)
        assert pipeline.seen(InterimTranscriptionFrame)
        assert fakes.deepgram.connections == 1
        assert not pipeline.seen_up(ErrorFrame)
    assert fakes.deepgram.connections == 0


async def test_deepgram_recognises_one_caller_after_another(fakes: FakeProviders) -> None:
    async with running(make_stt(settings(fakes))) as pipeline:
        for number, caller in enumerate((1, 2), start=1):
            await pipeline.send(*spoken(caller_speech(caller)))
            await pipeline.until(lambda number=number: len(pipeline.seen(TranscriptionFrame)) == number)
        assert [frame.text for frame in pipeline.seen(TranscriptionFrame)] == [phrase(1), phrase(2)]


async def test_openai_recognises_a_stretch_of_speech(fakes: FakeProviders) -> None:
    async with running(make_stt(settings(fakes, stt="openai"))) as pipeline:
        await pipeline.send(*spoken(caller_speech(12, "long")))
        assert (await pipeline.until_seen(TranscriptionFrame)).text == phrase(12, "long")


def asked(text: str, **other: object) -> LLMContextFrame:
    return LLMContextFrame(LLMContext(messages=[{"role": "user", "content": text}], **other))  # type: ignore[arg-type]


async def test_openai_streams_an_answer(fakes: FakeProviders) -> None:
    async with running(make_llm(settings(fakes))) as pipeline:
        await pipeline.send(asked(phrase(4)))
        await pipeline.until_seen(LLMFullResponseEndFrame)
        assert "".join(frame.text for frame in pipeline.seen(LLMTextFrame)).strip() == f"You said: {phrase(4)}."
        assert len(pipeline.seen(LLMTextFrame)) > 3


async def test_openai_calls_the_tool_that_ends_the_call(fakes: FakeProviders) -> None:
    farewells: list[str] = []

    async def end_call(params: FunctionCallParams, farewell: str) -> None:
        """End the call.

        Args:
            farewell: The last words.
        """
        farewells.append(farewell)
        await params.result_callback({})

    async with running(make_llm(settings(fakes))) as pipeline:
        await pipeline.send(asked(phrase(4, "goodbye"), tools=[end_call]))
        await pipeline.until(lambda: farewells)
    assert farewells == ["Goodbye, this is caller 4."]


@pytest.mark.parametrize("name", ["cartesia", "elevenlabs", "openai"])
async def test_a_voice_says_a_text_at_the_trunks_rate(fakes: FakeProviders, name: str) -> None:
    async with running(make_tts(settings(fakes, tts=name))) as pipeline:
        await pipeline.send(TTSSpeakFrame("You said: this is caller 6."))
        await pipeline.until_seen(TTSStoppedFrame)
        frames = pipeline.seen(TTSAudioRawFrame)
        if name == "openai":  # it has one rate only; the transport brings it to the trunk's
            assert {frame.sample_rate for frame in frames} == {24000}
            assert list(heard_voices(b"".join(frame.audio for frame in frames), 24000)) == [6]
        else:
            assert heard(frames) == {6: pytest.approx(1.8, abs=0.3)}
        assert not pipeline.seen_up(ErrorFrame)


@pytest.mark.parametrize("name", ["cartesia", "elevenlabs"])
async def test_an_interrupted_voice_speaks_again(fakes: FakeProviders, name: str) -> None:
    async with running(make_tts(settings(fakes, tts=name))) as pipeline:
        await pipeline.send(TTSSpeakFrame("caller 1 hears a very long story " * 5))
        await pipeline.until_seen(TTSAudioRawFrame)
        await pipeline.send(InterruptionFrame())
        await pipeline.send(TTSSpeakFrame("caller 2 is next"))

        def second_is_heard() -> bool:
            return 2 in heard(pipeline.seen(TTSAudioRawFrame))

        await pipeline.until(second_is_heard)


@pytest.mark.parametrize("status", [401, 429])
async def test_a_refusal_by_recognition_or_voice_is_an_error_that_says_so(fakes: FakeProviders, status: int) -> None:
    for behaviour in (fakes.deepgram, fakes.cartesia):
        behaviour.fault = Fault(status=status)
    for service in (make_stt(settings(fakes)), make_tts(settings(fakes))):
        async with running(service) as pipeline:
            await pipeline.send(TTSSpeakFrame("Hello."))
            await pipeline.until(lambda pipeline=pipeline: pipeline.seen_up(ErrorFrame))
            assert str(status) in pipeline.seen_up(ErrorFrame)[0].error


@pytest.mark.parametrize("status", [401, 429])
async def test_a_refusal_by_the_model_is_an_error_that_says_so(fakes: FakeProviders, status: int) -> None:
    fakes.openai.fault = Fault(status=status)
    async with running(make_llm(settings(fakes))) as pipeline:
        await pipeline.send(asked("hello"))
        await pipeline.until(lambda: pipeline.seen_up(ErrorFrame))
        assert str(status) in pipeline.seen_up(ErrorFrame)[0].error


async def test_recognition_whose_socket_is_dropped_connects_again(fakes: FakeProviders) -> None:
    fakes.deepgram.fault = Fault(drops_after_s=0.1)
    async with running(make_stt(settings(fakes))) as pipeline:
        await pipeline.until(lambda: fakes.deepgram.requests == 1 and fakes.deepgram.connections == 0)
        fakes.deepgram.fault = Fault()
        await pipeline.until(lambda: fakes.deepgram.connections == 1, deadline_s=10)
        await pipeline.send(*spoken(caller_speech(3)))
        assert (await pipeline.until_seen(TranscriptionFrame)).text == phrase(3)


async def test_a_provider_that_hangs_answers_nothing(fakes: FakeProviders) -> None:
    fakes.cartesia.fault = Fault(hangs=True)
    async with running(make_tts(settings(fakes))) as pipeline:
        await pipeline.send(TTSSpeakFrame("Hello."))
        await pipeline.until(lambda: fakes.cartesia.connections == 1)
        assert not pipeline.seen(TTSAudioRawFrame)


def test_as_a_process_the_fakes_tell_where_they_are() -> None:
    command = [sys.executable, "-m", "tests.fakes.providers", "--json", "--fault", "cartesia=hang"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        process.terminate()
    assert told["env"]["OPENAI_BASE_URL"] == f"http://127.0.0.1:{told['port']}/v1"
