"""The caller's speech, noticed where the audio comes in: nothing behind has to look at every 20 ms of it.

What is announced, and when, is what Pipecat's own `VADController` in the user aggregator would announce with the same
analyzer. While the aggregator mutes the caller nothing is; who still speaks when the mute ends is announced then.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from pipecat.audio.vad.vad_analyzer import VADParams, VADState
from pipecat.frames.frames import (
    SpeechControlParamsFrame,
    UserSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)

from worker.pipeline.resampler import Resampler
from worker.pipeline.vad_batch import BatchedVADAnalyzer

SPEAKING_EVERY_S = 2.0  # who wants to know that the caller still speaks waits for seconds
MUTED_EVERY_S = 0.2  # a mute that is a matter of time ends with a frame
NO_AUDIO_S = 1.0  # the stream has gone away amid speech: that ends it, as in the stock controller

Broadcast = Callable[..., Awaitable[None]]  # a class of frames and its fields


class Ears:
    """One call's. `hear` audio of `rate` as it comes; `wake` is called when there is something to `announce`."""

    def __init__(self, rate: int, params: VADParams, wake: Callable[[], None], broadcast: Broadcast) -> None:
        at = rate if rate in (8000, 16000) else 8000
        self._resampler = Resampler(rate, at) if rate != at else None
        self._analyzer = BatchedVADAnalyzer(at, params, wake)
        self._wake = wake
        self._broadcast = broadcast
        self._is_speaking = False  # as announced
        self._is_muted = False
        self._told_at = 0.0
        self._heard_at = 0.0

    @property
    def is_speaking(self) -> bool:
        """Whether the caller was last announced as speaking."""
        return self._is_speaking

    def hear(self, pcm: bytes) -> bool:
        """The caller's audio, 16-bit mono; whether there is nothing on the line but its noise."""
        self._heard_at = time.monotonic()
        self._analyzer.hear(pcm if self._resampler is None else self._resampler.resample(pcm))
        return self._analyzer.is_quiet

    async def begin(self) -> None:
        """Tell the services how speech is found."""
        await self._broadcast(SpeechControlParamsFrame, vad_params=self._analyzer.params)

    async def mute(self, is_muted: bool) -> None:
        """The aggregator has muted the caller, or does so no longer."""
        self._is_muted = is_muted
        await self.announce()

    async def change(self, params: VADParams) -> None:
        """A bot wants speech to be found otherwise from now on."""
        self._analyzer.set_params(params)
        await self.begin()

    async def announce(self) -> None:
        """Tell what has changed since the last time."""
        now, params = time.monotonic(), self._analyzer.params
        if self._is_muted:
            if self._analyzer.state is VADState.SPEAKING and now - self._told_at >= MUTED_EVERY_S:
                self._told_at = now
                await self._broadcast(UserSpeakingFrame)
            return
        if self._analyzer.state is VADState.SPEAKING and not self._is_speaking:
            self._is_speaking, self._told_at = True, 0.0
            self._look_for_silence()
            await self._broadcast(VADUserStartedSpeakingFrame, start_secs=params.start_secs)
        elif self._analyzer.state is VADState.QUIET and self._is_speaking:
            self._is_speaking = False
            await self._broadcast(VADUserStoppedSpeakingFrame, stop_secs=params.stop_secs)
        if self._is_speaking and now - self._told_at >= SPEAKING_EVERY_S:
            self._told_at = now
            await self._broadcast(UserSpeakingFrame)

    def _look_for_silence(self) -> None:
        silent_s = time.monotonic() - self._heard_at
        if silent_s >= NO_AUDIO_S:
            self._analyzer.set_params(self._analyzer.params)  # which makes it quiet
            self._wake()
        elif self._is_speaking:
            asyncio.get_running_loop().call_later(NO_AUDIO_S - silent_s + 0.01, self._look_for_silence)

    async def close(self) -> None:
        """Hear no more."""
        self._is_speaking = False
        await self._analyzer.cleanup()
