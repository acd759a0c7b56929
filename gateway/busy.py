"""The busy message: what a caller hears whom no worker can take, spoken by the gateway itself.

It waits for the stream's first message, sends the prompt at the pace of its playing, lets the carrier play it to
the end, and closes. What the carrier sends meanwhile is read and thrown away.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from gateway.ends import End, EndClosed
from gateway.prompt import FRAME_S
from shared.calls.outcome import Reason
from shared.sfvopi.closing import CloseCode

START_DEADLINE_S = 2.0  # for the first message; a carrier that says nothing gets the message all the same
LEAD_S = 0.2  # sent ahead of its playing
TAIL_S = 0.3  # what the carrier needs to have played the rest
STALL_S = 5.0  # beyond the message's length, for a carrier that takes its frames slowly, or not at all


async def say_busy(carrier: End, frames: Sequence[str]) -> bool:
    """Play the frames and close with 1000, which says why. Whether the caller stayed to the end."""
    has_begun = asyncio.Event()
    listening = asyncio.create_task(_listen(carrier, has_begun), name="busy:listen")
    speaking = asyncio.create_task(speak(carrier, frames, has_begun), name="busy:speak")
    deadline_s = START_DEADLINE_S + len(frames) * FRAME_S + TAIL_S + STALL_S
    try:
        done, _ = await asyncio.wait([listening, speaking], timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
        was_heard = speaking in done and speaking.result()
    finally:
        for task in (listening, speaking):
            task.cancel()
        await asyncio.gather(listening, speaking, return_exceptions=True)
    await carrier.close(CloseCode.NORMAL, Reason.BUSY_MESSAGE)
    return was_heard


async def _listen(carrier: End, has_begun: asyncio.Event) -> None:
    try:
        while True:
            await carrier.receive()
            has_begun.set()
    except EndClosed:
        return


async def speak(carrier: End, frames: Sequence[str], has_begun: asyncio.Event) -> bool:
    """Play the frames once the carrier has begun. Whether the caller stayed to the end."""
    loop = asyncio.get_running_loop()
    await until_begun(has_begun)
    began = loop.time()
    try:
        for number, frame in enumerate(frames):
            await asyncio.sleep(began + number * FRAME_S - LEAD_S - loop.time())
            await carrier.send(frame)
    except EndClosed:
        return False
    await asyncio.sleep(began + len(frames) * FRAME_S + TAIL_S - loop.time())
    return True


async def until_begun(has_begun: asyncio.Event) -> None:
    """Until the carrier has said something, or has had its time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_DEADLINE_S):
            await has_begun.wait()
