"""Callers who keep calling: each talks, interrupts, hangs up, and calls again until told to stop."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from uuid import uuid4

from shared.carrier.call import place_call
from shared.carrier.plan import CallPlan, HangUp, InterruptAfter, Say, Step, Wait, WaitForBot
from shared.cli.fleet import LocalFleet
from tests.fakes.tones import caller_speech

FRONT_DESK, FORGETFUL, BROKEN, PATIENT = (f"+91800000000{number}" for number in (1, 2, 3, 4))
BOTS_FILE = f"""
["{FRONT_DESK}"]
bot = "tests.fleet.bots:receptionist"
group = "sales"
["{FORGETFUL}"]
bot = "tests.monitoring.bots:forgetful"
group = "support"
["{BROKEN}"]
bot = "tests.fleet.bots:provider_down"
group = "support"
["{PATIENT}"]
bot = "tests.fleet.bots:receptionist"
group = "sales"
overflow = "hold"
"""
_numbers = itertools.cycle(range(1, 7))


def talk() -> tuple[Step, ...]:
    """A greeting, a question, an answer that is interrupted, another question."""
    caller = next(_numbers)
    return (
        WaitForBot(quiet_s=0.3, limit_s=6),
        Say(pcm=caller_speech(caller, "long")),
        InterruptAfter(0.8, limit_s=6),
        Say(pcm=caller_speech(caller)),
        WaitForBot(quiet_s=0.5, limit_s=6),
        HangUp(),
    )


def listen(seconds: float) -> tuple[Step, ...]:
    """A caller who stays on the line."""
    return (Wait(1), Say(pcm=caller_speech(next(_numbers))), Wait(seconds), HangUp())


async def call_once(fleet: LocalFleet, number: str, steps: tuple[Step, ...]) -> None:
    """One call, whatever comes of it."""
    plan = CallPlan(
        answer_url=fleet.answer_url,
        fallback_url=fleet.fallback_url,
        hangup_url=fleet.hangup_url,
        call_uuid=f"watched-{uuid4()}",
        to_number=number,
        steps=steps,
        max_s=40,
        expects_audio=False,
    )
    with contextlib.suppress(Exception):  # half of the fleet may be down: that is what is watched
        await place_call(plan)


@contextlib.asynccontextmanager
async def calling(fleet: LocalFleet, *numbers: str, lines: int = 1, stays_s: float = 0) -> AsyncIterator[None]:
    """So many lines to each of these numbers, always taken, until the end of the block."""

    async def keep_calling(number: str) -> None:
        while True:
            await call_once(fleet, number, listen(stays_s) if stays_s else talk())
            await asyncio.sleep(0.3)

    tasks = [asyncio.create_task(keep_calling(number)) for number in numbers for _ in range(lines)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended  # a line that fell silent would make a quiet day
