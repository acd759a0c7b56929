"""Speech noticed at the transport: what is announced, and to whom."""

import asyncio
from typing import Any

import pytest
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    Frame,
    SpeechControlParamsFrame,
    UserSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)

from tests.bench import sounds
from worker.pipeline import ears as ears_module
from worker.pipeline.ears import Ears
from worker.pipeline.vad import EDGE_PARAMS

SPEECH = sounds.speech()[8000:40000]
SILENCE = sounds.noise(0.6, rms=5)


class Listener:
    """Hears with ears of its own, and keeps what they announce."""

    def __init__(self, rate: int = 8000, params: VADParams = EDGE_PARAMS) -> None:
        self.told: list[Frame] = []
        self.woken = 0
        self.ears = Ears(rate, params, self._wake, self._broadcast)

    def _wake(self) -> None:
        self.woken += 1

    async def _broadcast(self, kind: type[Frame], **fields: Any) -> None:
        self.told.append(kind(**fields))

    async def hear(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), 320):
            self.ears.hear(pcm[at : at + 320])
            while self.ears._analyzer.pending:
                await asyncio.sleep(0.001)
            if self.woken:
                self.woken = 0
                await self.ears.announce()

    def kinds(self) -> list[type[Frame]]:
        return [type(frame) for frame in self.told if not isinstance(frame, UserSpeakingFrame)]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.pipeline.vad_batch.BATCH_S", 0.0)


async def test_speech_is_announced_once_with_the_parameters_that_found_it() -> None:
    listener = Listener()
    await listener.ears.begin()
    await listener.hear(SILENCE + SPEECH[:16000] + SILENCE)
    assert listener.kinds() == [SpeechControlParamsFrame, VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame]
    _, started, *_, stopped = listener.told
    assert (started.start_secs, stopped.stop_secs) == (EDGE_PARAMS.start_secs, EDGE_PARAMS.stop_secs)  # type: ignore[attr-defined]
    await listener.ears.close()


async def test_a_word_in_a_backlog_is_announced_though_it_is_over_when_that_is_judged() -> None:
    """What a caller says while his pipeline starts, or his worker is replaced, comes all at once."""
    listener, woken = Listener(), asyncio.Event()
    listener.ears._analyzer._changed = woken.set

    async def announce() -> None:
        while True:
            await woken.wait()
            woken.clear()
            await listener.ears.announce()

    announcing = asyncio.create_task(announce())
    listener.ears.hear(SILENCE + SPEECH[:8000] + SILENCE * 2)
    async with asyncio.timeout(5):
        while len(listener.kinds()) < 2:
            await asyncio.sleep(0.01)
    assert listener.kinds() == [VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame]
    announcing.cancel()
    await listener.ears.close()


async def test_a_muted_caller_is_announced_when_the_mute_ends_if_still_speaking() -> None:
    listener = Listener()
    await listener.ears.mute(True)
    await listener.hear(SILENCE + SPEECH[:12000])
    assert not listener.kinds()
    assert listener.told, "who is muted for a time is heard when the time is over, which a frame has to tell"
    await listener.ears.mute(False)
    assert listener.kinds() == [VADUserStartedSpeakingFrame]
    await listener.ears.close()


async def test_what_was_said_during_a_mute_is_not_announced_later() -> None:
    listener = Listener()
    await listener.ears.mute(True)
    await listener.hear(SILENCE + SPEECH[:12000] + SILENCE)
    await listener.ears.mute(False)
    assert not listener.kinds()
    await listener.ears.close()


async def test_a_stream_that_goes_away_amid_speech_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ears_module, "NO_AUDIO_S", 0.1)
    listener = Listener()
    await listener.hear(SILENCE + SPEECH[:12000])
    assert listener.kinds() == [VADUserStartedSpeakingFrame]
    async with asyncio.timeout(5):
        while not listener.woken:
            await asyncio.sleep(0.01)
    await listener.ears.announce()
    assert listener.kinds() == [VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame]
    await listener.ears.close()


async def test_parameters_can_change_during_the_call() -> None:
    listener = Listener()
    await listener.ears.change(VADParams(confidence=1.1, min_volume=0))
    await listener.hear(SILENCE + SPEECH[:12000])
    assert listener.kinds() == [SpeechControlParamsFrame]
    await listener.ears.close()


async def test_a_rate_that_the_model_does_not_know_is_brought_to_one_that_it_does() -> None:
    listener = Listener(24000)
    await listener.hear(b"".join(SPEECH[at : at + 2] * 3 for at in range(0, 16000, 2)))
    assert listener.kinds()[:1] == [VADUserStartedSpeakingFrame]
    await listener.ears.close()
