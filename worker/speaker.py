"""The bot's mouth: audio to the carrier at the pace of speech, a little ahead of it, and taken back at once.

The lead is what the carrier holds of ours when a chunk has gone, so a late moment is not heard that is shorter than the
lead without a chunk; which is why a chunk is never longer than half of it. Whoever waits here for
the time of a chunk finds out, when a clear came meanwhile, that the chunk is stale.
"""

import asyncio
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

from shared.sfvopi.g711 import encode
from shared.sfvopi.messages import PlayAudio
from shared.sfvopi.playout import Playout
from worker.observing import CallWatch

if TYPE_CHECKING:
    from worker.stream import CallStream

LAST_CHECKPOINT = "end_of_speech"  # ours, asked for before the stream is closed
SHORTEST_MS = 20  # of a chunk: what carriers themselves send
PATIENCE_S = 1.0  # for the carrier to have played what, by our estimate, it has


class Kind(Enum):
    """Audio that is not the bot's usual speech."""

    BACKGROUND = auto()
    WHOLE = auto()  # nothing comes between its chunks


class Speaker:
    """Says audio on a call's stream. One per session: clear numbers go on over all sockets."""

    def __init__(
        self, stream: "CallStream", watch: CallWatch, lead_s: float, chunk_ms: int = 100, clears: int = 0
    ) -> None:
        self.chunk_ms = min(chunk_ms, max(SHORTEST_MS, round(lead_s * 500) // 10 * 10))
        self._stream = stream
        self._watch = watch
        self._ahead_s = max(0.0, lead_s - self.chunk_ms / 1000)  # may be unplayed when the next chunk goes
        self._playout = Playout()
        self._generation = 0  # grows with every clear
        self._clears = clears  # sent before, by an earlier session of this call
        self._last_heard: asyncio.Event | None = None
        self._has_last_words = False  # the bot is not heard any more
        self._quiet_at = float("-inf")
        self._whole = asyncio.Lock()  # held while something is said that nothing may come between
        self._heard_up_to = float("-inf")  # `quiet_at` of what was waited for already

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one chunk of 16-bit PCM."""
        return self._stream.format.sample_rate * self.chunk_ms // 1000 * 2

    @property
    def quiet_at(self) -> float:
        """When all that was said so far will have been heard. Background sound is not said."""
        return self._quiet_at

    @property
    def dry_at(self) -> float:
        """When all that was sent so far will have been played, background sound too."""
        return self._playout.dry_at

    async def say(self, pcm: bytes, *, interruptible: bool = True) -> bool:
        """Say 16-bit PCM of the stream's rate, however long; False if it was interrupted or cannot be heard."""
        generation = self._generation

        def is_stale() -> bool:
            return self._has_last_words or (interruptible and generation != self._generation)

        return await self._say(pcm, is_stale, keep=not interruptible)

    async def say_whole(self, pcm: bytes) -> bool:
        """Say this in one piece that no interruption cuts: what else is being said goes on behind it."""
        async with self._whole:
            return await self._say(pcm, lambda: self._has_last_words, keep=True, kind=Kind.WHOLE)

    async def play_background(self, pcm: bytes) -> bool:
        """Background sound: paced as speech is, and not speech. False if it cannot be heard."""
        return await self._say(pcm, lambda: self._has_last_words, keep=False, kind=Kind.BACKGROUND)

    async def say_last(self, pcm: bytes) -> None:
        """Say this at once, and nothing of the bot any more, whatever it does. Returns when it was heard."""
        self._has_last_words = True
        if self._playout.unplayed_s(time.monotonic()) > 0:
            await self._take_back()
        if await self._say(pcm, lambda: False, keep=True):
            await self._wait_until_heard()

    async def _say(self, pcm: bytes, is_stale: Callable[[], bool], *, keep: bool, kind: "Kind | None" = None) -> bool:
        for at in range(0, len(pcm), self.chunk_bytes):
            if is_stale() or not await self._say_chunk(pcm[at : at + self.chunk_bytes], is_stale, keep, kind):
                return False
        return True

    async def _say_chunk(self, pcm: bytes, is_stale: Callable[[], bool], keep: bool, kind: "Kind | None") -> bool:
        payload = encode(pcm, self._stream.format)
        duration_s = self._stream.format.duration_ms(len(payload)) / 1000
        while await self._stream.attached():
            due = self._playout.dry_at - self._ahead_s
            waited = due > time.monotonic()
            if waited:
                await asyncio.sleep(due - time.monotonic())
            if is_stale():
                return False
            if not self._stream.is_attached:
                continue  # detached while we waited: say it to the stream that comes back
            if kind is not Kind.WHOLE and self._whole.locked():
                async with self._whole:
                    continue  # its moment is a later one now
            if await self._stream.send(PlayAudio(payload, self._stream.format)):
                now = time.monotonic()
                self._playout.sent(duration_s, now, keep=keep)
                is_speech = kind is not Kind.BACKGROUND
                if is_speech:
                    self._quiet_at = self._playout.dry_at
                # a chunk that was not there when it was due is the bot's lateness, not ours
                self._watch.audio_sent(now, now - due if waited else 0.0, is_speech=is_speech)
                return True
            await asyncio.sleep(0.02)  # the socket ended under us; its reader says so in a moment
        return False

    async def clear(self) -> bool:
        """Take back what is not yet played, unless it must be heard; whether there was something to take back."""
        self._generation += 1
        now = time.monotonic()
        if self._quiet_at <= now or self._playout.is_keeping(now):
            return False
        return await self._take_back()

    async def _take_back(self) -> bool:
        now = time.monotonic()
        self._clears += 1
        self._forget_from(now)
        self._watch.clear_sent(self._clears, now)
        return await self._stream.clear(self._clears)

    async def checkpoint(self, name: str) -> bool:
        """Ask the carrier to say (`playedStream`) when the audio so far has been played."""
        self._watch.checkpoint_sent(name)
        return await self._stream.checkpoint(name)

    def forget_unplayed(self) -> None:
        """The carrier's queue went with the socket."""
        self._forget_from(time.monotonic())

    def _forget_from(self, now: float) -> None:
        self._playout.cleared(now)
        self._quiet_at = min(self._quiet_at, now)

    def checkpoint_played(self, name: str) -> bool:
        """Whether this checkpoint was ours alone."""
        if name != LAST_CHECKPOINT or self._last_heard is None:
            return False
        self._last_heard.set()
        return True

    async def heard(self) -> None:
        """Wait until the caller has heard everything: by the carrier's word, or by our estimate with some patience.

        A carrier plays later than we think (its own buffer, the way there), and a closed stream may cut what it
        still has. A stream that is not there is not waited for; nor are last words, which are not the bot's.
        """
        if not self._has_last_words:
            await self._wait_until_heard()

    async def _wait_until_heard(self) -> None:
        if self.quiet_at + PATIENCE_S < time.monotonic() or self.quiet_at == self._heard_up_to:
            return
        if not self._stream.is_attached or self._stream.is_over:
            return
        self._last_heard = asyncio.Event()
        await self.checkpoint(LAST_CHECKPOINT)
        while self._stream.is_attached and not self._stream.is_over and not self._last_heard.is_set():
            left_s = self.quiet_at + PATIENCE_S - time.monotonic()
            if left_s <= 0:
                break
            try:
                async with asyncio.timeout(min(left_s, 0.1)):
                    await self._last_heard.wait()
            except TimeoutError:
                continue
        self._heard_up_to = self.quiet_at
