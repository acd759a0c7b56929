"""Whoever decides that a call is over says so at once, whatever the bot's pipeline, or its own work, still does.

A bot that worked on for six seconds after its pipeline had gone once left its caller in silence for four, and then
the line closed without a word.
"""

import asyncio
import base64
import contextlib
import time
import wave

import pytest
from pipecat.frames.frames import CancelFrame, Frame, InputDTMFFrame, TTSAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from shared.calls.outcome import Reason
from shared.sfvopi.formats import PCMA_8K
from shared.sfvopi.g711 import encode
from worker.pipeline.transport import SFVoPITransport

SORRY = b"\x00\x30" * 3200  # 0.4 s of what nobody else says
AT_ONCE_S = 0.5


@pytest.fixture
async def fleet(start_worker, tmp_path):
    path = tmp_path / "sorry.wav"
    with wave.open(str(path), "wb") as recording:
        recording.setparams((1, 2, 8000, 0, "NONE", ""))
        recording.writeframes(SORRY)
    return await start_worker(apology_wav=path)


class Chatters(FrameProcessor):
    """Says a minute, whatever must be heard of it, when a key is pressed; lets nothing by that would end it."""

    def __init__(self, *, interruptible: bool, ends: bool) -> None:
        super().__init__()
        self._interruptible = interruptible
        self._ends = ends

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputDTMFFrame):
            for _ in range(60):
                audio = TTSAudioRawFrame(b"\x00\x08" * 8000, 8000, 1)
                audio.interruptible = self._interruptible
                await self.push_frame(audio)
        if self._ends or not isinstance(frame, CancelFrame):
            await self.push_frame(frame, direction)


def bot(*, interruptible=True, ends=True, beside=(), after_s=0.0):
    async def run(arguments):
        transport = SFVoPITransport.for_call(arguments)
        chatters = Chatters(interruptible=interruptible, ends=ends)
        runner = WorkerRunner(handle_sigint=False)
        for processors in ([transport.input(), chatters, transport.output()], *beside):
            params = PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000)
            await runner.add_workers(PipelineWorker(Pipeline(list(processors)), params=params, enable_rtvi=False))
        await runner.run()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(after_s)

    return run


class Other(FrameProcessor):
    """A second worker's."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


BOTS = {
    "listens": lambda: bot(),
    "has what must be heard to say": lambda: bot(interruptible=False),
    "does not listen": lambda: bot(ends=False),
    "works for six seconds after its pipeline": lambda: bot(after_s=6),
    "has a second worker": lambda: bot(beside=[[Other()]]),
    "has a second worker and works afterwards": lambda: bot(beside=[[Other()]], after_s=6),
}


@pytest.mark.parametrize("speaks", [True, False], ids=["speaking", "silent"])
@pytest.mark.parametrize("kind", BOTS)
async def test_the_apology_is_said_at_once_and_nothing_else_with_it(fleet, until, kind, speaks):
    fleet.bots.bots["test:goes_on"] = BOTS[kind]()
    carrier = await fleet.call(bot="test:goes_on")
    session = fleet.app.sessions.all()[-1]
    await asyncio.wait_for(session.stream.watch.pipeline_started.wait(), 10)
    if speaks:
        await carrier.press("1")
        await until(lambda: carrier.heard_s > 0.3)
    decided_at = time.monotonic()
    session.end(Reason.PROVIDER_ERROR)
    assert await carrier.closed(AT_ONCE_S + 0.4 + 2.5) == 1000  # 1 s for a carrier that says nothing of playing
    sent = [(at, message) for at, message in carrier.heard if at > decided_at]
    if speaks:
        cleared = next(place for place, (_, message) in enumerate(sent) if message["event"] == "clearAudio")
        sent = sent[cleared + 1 :]
    heard = [(at, message["media"]["payload"]) for at, message in sent if message["event"] == "playAudio"]
    assert b"".join(base64.b64decode(payload) for _, payload in heard) == encode(SORRY, PCMA_8K)
    assert heard[0][0] - decided_at < AT_ONCE_S
    assert (await fleet.ended(seconds=15)).reason == Reason.PROVIDER_ERROR
