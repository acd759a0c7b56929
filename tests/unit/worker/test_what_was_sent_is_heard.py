"""Every way to end a call, at the caller's ear, sample by sample.

A call that a tool ended lost the last 170 ms of what its caller was hearing: the stream was closed while the carrier
still had them. The ear is the simulated carrier's: it plays in real time, 60 ms behind, and acknowledges checkpoints.
"""

import array
import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
import websockets
from pipecat.flows import FlowManager
from pipecat.frames.frames import (
    CancelFrame,
    CancelWorkerFrame,
    EndFrame,
    EndTaskFrame,
    EndWorkerFrame,
    OutputAudioRawFrame,
    StopFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection
from pipecat.workers.runner import WorkerRunner

from shared.carrier.heard import Ear
from shared.sfvopi.formats import PCMA_8K
from shared.sfvopi.g711 import decode, encode
from worker.pipeline.transport import SFVoPITransport

SPEECH_S = 1.53  # no multiple of a chunk
END_AFTER_S = 0.5


def speech(seconds: float = SPEECH_S) -> bytes:
    """No two stretches of it are alike."""
    at = np.arange(round(seconds * 8000)) / 8000
    wave = 9000 * np.sin(2 * np.pi * (300 * at + 200 * at * at))
    return wave.astype("<i2").tobytes()


class Caller:
    """The caller's ear at one stream, in real time."""

    def __init__(self, carrier: Any, acknowledges: bool) -> None:
        self.ear = Ear(8000, keep_audio=True)
        self._carrier = carrier
        self._acknowledges = acknowledges

    async def listen(self) -> bytes:
        """All that was heard until the stream was closed."""
        clock, taken = asyncio.get_running_loop().time, 0
        closed = asyncio.create_task(self._carrier.connection.wait_closed())
        while True:
            for at, message in self._carrier.heard[taken:]:
                taken += 1
                if message["event"] == "playAudio":
                    self.ear.receive(decode(base64.b64decode(message["media"]["payload"]), PCMA_8K), at)
                elif message["event"] == "clearAudio":
                    self.ear.clear(at)
                elif message["event"] == "checkpoint":
                    self.ear.checkpoint(message["name"])
            if closed.done() and taken == len(self._carrier.heard):
                break
            with contextlib.suppress(websockets.ConnectionClosed):
                for name in self.ear.take_played_checkpoints(clock()):
                    if self._acknowledges:
                        await self._carrier.send({"event": "playedStream", "name": name})
            await asyncio.sleep(0.005)
        self.ear.hang_up(clock())
        return self.ear.pcm(next((run.begin for run in self.ear._runs), 0.0))


class Bot:
    """Speaks once, without anything that says that it stopped, and ends as it is told to."""

    def __init__(self, arguments: Any) -> None:
        self.transport = SFVoPITransport.for_call(arguments)
        self.pipeline = PipelineWorker(
            Pipeline([self.transport.input(), self.transport.output()]),
            params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
            enable_rtvi=False,
            enable_turn_tracking=False,
        )
        self.runner = WorkerRunner(handle_sigint=False)

    async def speak(self) -> None:
        await self.pipeline.queue_frames([TTSStartedFrame(), TTSAudioRawFrame(speech(), 8000, 1)])

    async def run(self, end: Callable[["Bot"], Awaitable[Any]], after_s: float) -> None:
        @self.transport.event_handler("on_client_connected")
        async def connected(*_: Any) -> None:
            await self.speak()
            await asyncio.sleep(after_s)
            await end(self)

        await self.runner.add_workers(self.pipeline)
        await self.runner.run()


async def flows_end(bot: Bot) -> None:
    manager = FlowManager(worker=bot.pipeline, llm=None, context_aggregator=None)  # type: ignore[arg-type]
    await manager._action_manager._handle_end_action({"type": "end_conversation"})


SAID_WHOLE: dict[str, Callable[[Bot], Awaitable[Any]]] = {
    "EndFrame": lambda bot: bot.pipeline.queue_frame(EndFrame()),
    "stop_when_done": lambda bot: bot.pipeline.stop_when_done(),
    "the runner's stop_when_done": lambda bot: bot.runner.stop_when_done(),
    "EndWorkerFrame": lambda bot: bot.pipeline.queue_frame(EndWorkerFrame()),
    "EndTaskFrame, upstream": lambda bot: bot.transport.output().push_frame(EndTaskFrame(), FrameDirection.UPSTREAM),
    "a flow's end": flows_end,
}
CUT: dict[str, Callable[[Bot], Awaitable[Any]]] = {
    "cancel": lambda bot: bot.pipeline.cancel(),
    "CancelFrame": lambda bot: bot.pipeline.queue_frame(CancelFrame()),
    "CancelWorkerFrame": lambda bot: bot.pipeline.queue_frame(CancelWorkerFrame()),
    "the runner's cancel": lambda bot: bot.runner.cancel(),
    "the runner's end": lambda bot: bot.runner.end(),
    "worker.end()": lambda bot: bot.pipeline.end(),
}


async def heard_of(fleet: Any, bot: Any, acknowledges: bool) -> tuple[bytes, bytes, Any]:
    """What was sent to a call of this bot, what its caller heard, and its record."""
    fleet.bots.bots["test:ends"] = bot
    carrier = await fleet.call(bot="test:ends")
    heard = await asyncio.wait_for(Caller(carrier, acknowledges).listen(), 12)
    payloads = (base64.b64decode(sent["media"]["payload"]) for sent in carrier.events("playAudio"))
    return decode(b"".join(payloads), PCMA_8K), heard, await fleet.ended()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # EndTaskFrame's own
@pytest.mark.parametrize("acknowledges", [True, False])
@pytest.mark.parametrize("way", SAID_WHOLE)
async def test_all_that_is_queued_is_heard_to_its_last_sample(fleet, way, acknowledges):
    async def bot(arguments: Any) -> None:
        await Bot(arguments).run(SAID_WHOLE[way], 0.0)

    sent, heard, record = await heard_of(fleet, bot, acknowledges)
    expected = decode(encode(speech(), PCMA_8K), PCMA_8K)
    assert heard[: len(expected)] == expected
    assert set(array.array("h", heard[len(expected) :])) <= {-8, 8, 0}, "but for silence that fills a chunk"
    assert heard == sent
    assert (record.reason, record.result) == ("bot_ended", "completed")


@pytest.mark.parametrize("acknowledges", [True, False])
@pytest.mark.parametrize("way", CUT)
async def test_all_that_was_sent_is_heard_to_its_last_sample(fleet, way, acknowledges):
    async def bot(arguments: Any) -> None:
        await Bot(arguments).run(CUT[way], END_AFTER_S)

    sent, heard, record = await heard_of(fleet, bot, acknowledges)
    assert len(sent) >= END_AFTER_S * 16000 * 0.9
    assert heard == sent
    assert decode(encode(speech(), PCMA_8K), PCMA_8K).startswith(heard)
    assert (record.reason, record.result) == ("bot_ended", "completed")


async def test_a_return_from_the_bot_lets_what_was_sent_be_heard(fleet):
    async def bot(arguments: Any) -> None:
        async def never(_: Bot) -> None:
            await asyncio.sleep(3600)

        running = asyncio.create_task(Bot(arguments).run(never, 0.0))
        await asyncio.sleep(0.8)
        del running

    sent, heard, record = await heard_of(fleet, bot, True)
    assert heard == sent
    assert len(heard) > 1600
    assert record.reason == "bot_ended"


async def test_a_stop_frame_lets_what_is_queued_be_heard(fleet):
    async def bot(arguments: Any) -> None:
        await Bot(arguments).run(lambda bot: bot.pipeline.queue_frames([TTSStoppedFrame(), StopFrame()]), 0.0)

    sent, heard, record = await heard_of(fleet, bot, True)
    assert heard == sent
    assert (record.reason, record.detail) == ("bot_ended", "")
    assert fleet.count("sfvopi_session_tasks_left_total") == 0


async def test_plain_audio_is_heard_whole_as_well(fleet):
    async def bot(arguments: Any) -> None:
        made = Bot(arguments)
        made.speak = lambda: made.pipeline.queue_frame(OutputAudioRawFrame(speech(), 8000, 1))  # type: ignore[method-assign]
        await made.run(SAID_WHOLE["EndFrame"], 0.0)

    sent, heard, _ = await heard_of(fleet, bot, True)
    assert heard == sent
    assert len(heard) >= len(speech())
