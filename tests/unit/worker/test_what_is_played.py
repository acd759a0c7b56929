"""What is put on the line besides plain speech: its tail when the model pauses, whole keys, background sound.

A sentence's last 80 ms came when the model's next word did, seconds later; keys pressed into speech reached the other
end in pieces, which a machine reads as several; a call with background sound was never idle, was interrupted when
nobody spoke, and had its first audio at once.
"""

import array
import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pipecat.audio.mixers.base_audio_mixer import BaseAudioMixer
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputDTMFFrame,
    OutputDTMFUrgentFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

from shared.carrier.heard_keys import heard_keys
from shared.sfvopi.formats import PCMA_8K
from shared.sfvopi.g711 import decode
from worker.pipeline.transport import SFVoPITransport


class Noise(BaseAudioMixer):
    """A level that is not silence and not speech, so that it can be told apart; counts how often it was asked."""

    level = 300

    def __init__(self) -> None:
        self.asked = 0

    async def start(self, sample_rate: int) -> None: ...

    async def stop(self) -> None: ...

    async def process_frame(self, frame: Frame) -> None: ...

    async def mix(self, audio: bytes) -> bytes:
        self.asked += 1
        return array.array("h", [sample + self.level for sample in array.array("h", audio)]).tobytes()


def speech(seconds: float, level: int = 8000, **more: Any) -> TTSAudioRawFrame:
    half = array.array("h", [level] * 10 + [-level] * 10)
    pcm = (half.tobytes() * int(seconds * 400 + 1))[: round(seconds * 8000) * 2]
    return TTSAudioRawFrame(pcm, 8000, 1, **more)


class Player:
    """A bot without a mind, and its call."""

    def __init__(self, fleet: Any, carrier: Any, pipeline: PipelineWorker) -> None:
        self.fleet, self.carrier, self.pipeline = fleet, carrier, pipeline

    async def queue(self, *frames: Frame) -> None:
        await self.pipeline.queue_frames(list(frames))

    @property
    def played(self) -> bytes:
        payloads = (base64.b64decode(sent["media"]["payload"]) for sent in self.carrier.events("playAudio"))
        return decode(b"".join(payloads), PCMA_8K)

    @property
    def keys(self) -> str:
        return "".join(heard.key for heard in heard_keys(self.played, 8000))

    def speech_s(self, least: int = 4000) -> float:
        return sum(abs(sample) >= least for sample in array.array("h", self.played)) / 8000

    def watch(self) -> Any:
        return self.fleet.app.sessions.get("call-1").stream.watch


@pytest.fixture
def play(start_worker: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Player]]:
    async def start(mixer: BaseAudioMixer | None = None, **settings: Any) -> Player:
        fleet = await start_worker(**settings)
        made: list[PipelineWorker] = []

        async def bot(arguments: Any) -> None:
            transport = SFVoPITransport.for_call(arguments, TransportParams(audio_out_mixer=mixer))
            made.append(
                PipelineWorker(
                    Pipeline([transport.input(), transport.output()]),
                    params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
                    enable_rtvi=False,
                )
            )
            runner = WorkerRunner(handle_sigint=False)
            await runner.add_workers(*made)
            await runner.run()

        fleet.bots.bots["test:player"] = bot
        carrier = await fleet.call(bot="test:player")
        await fleet.app.sessions.get("call-1").stream.watch.pipeline_started.wait()
        return Player(fleet, carrier, made[0])

    return start


# -- the tail


@pytest.mark.parametrize("seconds", [0.02, 0.08, 0.13, 1.05, 1.99])
async def test_what_the_voice_has_made_is_sent_though_nothing_follows(play, until, seconds):
    player = await play()
    await player.queue(TTSStartedFrame(), speech(seconds))
    await until(lambda: player.carrier.heard_s == pytest.approx(seconds, abs=0.001), seconds + 2)


@pytest.mark.parametrize("rate", [16000, 22050, 24000, 44100, 48000])
async def test_nothing_is_kept_by_the_resampler_while_the_model_pauses(play, until, rate):
    """It keeps 40 to 100 ms of a voice at another rate than the line's."""
    player = await play()
    at = array.array("h", [8000, -8000] * (rate // 2)).tobytes()
    await player.queue(TTSStartedFrame(), TTSAudioRawFrame(at, rate, 1))
    await until(lambda: player.carrier.heard_s == pytest.approx(1.0, abs=0.002), 3)
    await player.queue(TTSAudioRawFrame(at, rate, 1), TTSStoppedFrame())
    await until(lambda: player.carrier.heard_s >= 1.99, 3)
    await asyncio.sleep(0.3)
    assert player.carrier.heard_s == pytest.approx(2.0, abs=0.1), "each sample once, and silence that fills a chunk"


async def test_a_tail_comes_before_the_carrier_has_nothing_more_to_play(play, until):
    player = await play()
    await player.queue(TTSStartedFrame(), speech(1.08))
    await until(lambda: player.carrier.heard_s == pytest.approx(1.08), 3)
    sent_at = [at for at, message in player.carrier.heard if message["event"] == "playAudio"]
    assert sent_at[-1] - sent_at[0] < 1.0, "the tail was late: one second was to be played before it"


async def test_audio_that_flows_is_not_cut_into_smaller_pieces(play, until):
    player = await play()
    await player.queue(TTSStartedFrame())
    for _ in range(50):  # at the pace of speech, as some voices make it
        await player.queue(speech(0.02))
        await asyncio.sleep(0.018)
    await until(lambda: player.carrier.heard_s == pytest.approx(1.0), 3)
    assert len(player.carrier.events("playAudio")) <= 14


async def test_all_that_is_queued_is_said_before_the_end_though_no_voice_says_that_it_stopped(play):
    player = await play()
    await player.queue(OutputAudioRawFrame(speech(0.55).audio, 8000, 1), EndFrame())
    assert await player.carrier.closed(4) == 1000
    assert player.speech_s() == pytest.approx(0.55, abs=0.01)


# -- keys


@pytest.mark.parametrize("kind", [OutputDTMFUrgentFrame, OutputDTMFFrame])
@pytest.mark.parametrize("where", ["in silence", "in speech", "over background sound"])
async def test_keys_are_whole_tones_wherever_they_are_pressed(play, until, kind, where):
    player = await play(Noise() if where == "over background sound" else None)
    if where == "in speech":
        await player.queue(TTSStartedFrame(), speech(1.0))
        await asyncio.sleep(0.4)
    await player.queue(kind.from_string("1225#"))
    await until(lambda: len(player.keys) >= 5, 6)
    await asyncio.sleep(0.3)
    assert player.keys == "1225#"
    for heard in heard_keys(player.played, 8000):
        assert heard.to_s - heard.from_s >= 0.2
    if where == "in speech":
        await until(lambda: player.speech_s() >= 0.99)


async def test_an_end_waits_for_the_keys_before_it(play):
    player = await play()
    await player.queue(OutputDTMFUrgentFrame.from_string("42"), EndFrame())
    assert await player.carrier.closed(5) == 1000
    assert player.keys == "42"


async def test_a_machine_that_speaks_does_not_cut_the_keys_short(play, until):
    player = await play()
    await player.queue(TTSStartedFrame(), speech(5.0))
    await asyncio.sleep(0.3)
    await player.queue(OutputDTMFUrgentFrame.from_string("789"))
    await asyncio.sleep(0.3)
    await player.queue(InterruptionFrame())
    await until(lambda: len(player.keys) >= 3, 5)
    assert player.keys == "789"
    await asyncio.sleep(0.3)
    assert player.speech_s() < 1.5, "the speech behind them was interrupted"


# -- background sound


async def test_background_sound_is_not_the_bots_speech(play, until):
    noise = Noise()
    player = await play(noise)
    await until(lambda: player.carrier.heard_s > 0.5)
    await player.queue(InterruptionFrame())
    await until(lambda: player.carrier.heard_s > 1.0)
    assert not player.carrier.events("clearAudio"), "there was nothing to take back"
    assert "first_audio_ms" not in player.watch().figures()
    await player.queue(TTSStartedFrame(), speech(0.5), TTSStoppedFrame())
    await until(lambda: player.watch()._first_audio_s)
    assert player.watch()._first_audio_s > 1.0
    assert player.watch().figures()["barge_ins"] == 0


async def test_background_sound_goes_on_behind_an_interruption(play, until):
    player = await play(Noise())
    await player.queue(TTSStartedFrame(), speech(5.0), TTSStoppedFrame())
    await until(lambda: player.speech_s() > 0.4)
    await player.queue(InterruptionFrame())
    await until(lambda: player.carrier.events("clearAudio"))
    cleared = len(player.carrier.heard)
    await asyncio.sleep(0.5)
    behind = [at for at, message in player.carrier.heard[cleared:] if message["event"] == "playAudio"]
    assert len(behind) >= 4
    assert len(player.carrier.events("clearAudio")) == 1
    before_s = player.speech_s()
    await asyncio.sleep(0.3)
    assert player.speech_s() == before_s, "the interrupted speech went on"


async def test_a_call_with_background_sound_is_idle_as_any_other(play):
    player = await play(Noise(), idle_s=0.8)
    began_at = time.monotonic()
    assert await player.carrier.closed(4) == 1000
    assert time.monotonic() - began_at < 3
    assert (await player.fleet.ended()).reason == "idle"


async def test_an_end_that_went_astray_is_noticed_under_background_sound(play, monkeypatch):
    player = await play(Noise())
    player.watch().end_seen_at = time.monotonic()
    assert await player.carrier.closed(8) == 1000
    assert (await player.fleet.ended()).reason == "stuck"


async def test_no_loop_spins_when_the_stream_is_over(play, until):
    noise = Noise()
    player = await play(noise)
    await until(lambda: player.carrier.heard_s > 0.3)
    stream = player.fleet.app.sessions.get("call-1").stream
    stream.end()
    asked, spent = noise.asked, time.process_time()
    await asyncio.sleep(0.6)
    assert noise.asked - asked <= 10
    assert time.process_time() - spent < 0.3
