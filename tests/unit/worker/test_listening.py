"""What a pipeline gets of the caller's audio: all of it, in pieces."""

import asyncio

from pipecat.frames.frames import Frame, InputAudioRawFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from shared.sfvopi.formats import PCMA_8K
from shared.sfvopi.g711 import decode, encode
from tests.bench import sounds
from tests.unit.worker.conftest import run_pipeline
from worker.pipeline.transport import PIECE_MS, QUIET_PIECE_MS, SFVoPITransport

FRAME = 320  # bytes of 20 ms
MS = 16  # bytes


class Listener(FrameProcessor):
    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self.pieces.append(frame.audio)


async def test_a_quiet_line_comes_in_longer_pieces_than_speech_and_nothing_is_lost(fleet, until, media):
    listener = Listener()

    async def listens(arguments):
        await run_pipeline(SFVoPITransport.for_call(arguments), listener)

    fleet.bots.bots["test:listens"] = listens
    carrier = await fleet.call(bot="test:listens")
    await until(lambda: fleet.app.sessions.get("call-1").stream.watch.pipeline_started.is_set())
    quiet, speech = sounds.noise(2.0, rms=10), sounds.speech()[16000:48000]
    for at in range(0, len(quiet + speech), FRAME):
        await carrier.send(media(encode((quiet + speech)[at : at + FRAME], PCMA_8K)))
        await asyncio.sleep(0.003)
    sent = decode(encode(quiet + speech, PCMA_8K), PCMA_8K)
    await until(lambda: sum(map(len, listener.pieces)) > len(sent) - PIECE_MS * MS)
    heard = b"".join(listener.pieces)
    assert heard == sent[: len(heard)]
    ends = [sum(map(len, listener.pieces[: n + 1])) for n in range(len(listener.pieces))]
    of_noise = [len(piece) for piece, end in zip(listener.pieces, ends, strict=True) if end <= len(quiet)]
    of_speech = [len(piece) for piece, end in zip(listener.pieces, ends, strict=True) if end > len(quiet) + 8000]
    assert min(of_noise) >= QUIET_PIECE_MS * MS
    assert min(of_speech) < QUIET_PIECE_MS * MS
