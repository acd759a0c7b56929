"""Music, and its end: what a caller hears while there is no worker for the call.

Played again and again at the pace of its playing; cleared from the carrier's buffer before anything else is said.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from itertools import cycle

from gateway.busy import LEAD_S, until_begun
from gateway.ends import End, EndClosed
from gateway.leg import Leg
from gateway.prompt import Prompt
from shared.sfvopi.errors import MessageDropped
from shared.sfvopi.formats import AudioFormat
from shared.sfvopi.messages import ClearAudio, StreamStarted
from shared.sfvopi.parse import parse_event
from shared.sfvopi.render import render_command

LATE_S = 0.5  # music that is later than this goes on from where it is: nothing is sent in a burst
CLEAR_DEADLINE_S = 1.0
CLEAR_NUMBER = 1  # of the only `clearAudio` that is not the session's


class Music:
    """The music of this gateway."""

    def __init__(self, prompt: Prompt) -> None:
        self._prompt = prompt

    @contextlib.asynccontextmanager
    async def playing(
        self, leg: Leg, carrier: End, format: AudioFormat, *, after_s: float = 0.0
    ) -> AsyncIterator[asyncio.Event]:
        """Played to this caller meanwhile, after this time. The event that it yields says whether it has begun."""
        has_begun = asyncio.Event()
        frames, frame_s = self._prompt.frames(format), self._prompt.frame_s

        async def play() -> None:
            await asyncio.sleep(after_s)
            has_begun.set()
            await play_on(carrier, frames, frame_s, leg.has_begun)

        playing = asyncio.create_task(play(), name=f"leg:{leg.call_id}:music")
        try:
            yield has_begun
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)


async def play_on(carrier: End, frames: Sequence[str], frame_s: float, has_begun: asyncio.Event) -> None:
    """Play the frames again and again, at the pace of their playing, once the carrier has begun."""
    clock = asyncio.get_running_loop().time
    await until_begun(has_begun)
    next_at = clock() - LEAD_S
    with contextlib.suppress(EndClosed):
        for frame in cycle(frames):
            late_s = clock() - next_at
            if late_s < 0:
                await asyncio.sleep(-late_s)
            elif late_s > LEAD_S + LATE_S:
                next_at = clock()
            await carrier.send(frame)
            next_at += frame_s


async def clear(leg: Leg, carrier: End, format: AudioFormat) -> None:
    """No music is left in the carrier's buffer."""
    stream_id = ""
    with contextlib.suppress(MessageDropped):
        if leg.start is not None and isinstance(start := parse_event(leg.start, format), StreamStarted):
            stream_id = start.stream_id
    with contextlib.suppress(EndClosed, TimeoutError):
        async with asyncio.timeout(CLEAR_DEADLINE_S):
            await carrier.send(render_command(ClearAudio(stream_id, CLEAR_NUMBER)))
