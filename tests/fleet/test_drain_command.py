"""An operator drains a worker under a live call and has the call moved, on both paths, in a fleet of real processes."""

import asyncio
import time
from uuid import uuid4

import pytest

from shared.carrier.call import place_call
from shared.carrier.events import CarrierEvent, EventKind
from shared.carrier.plan import Knobs
from shared.carrier.report import CallOutcome
from shared.cli.fleet import LocalFleet
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import heard_voices
from tests.fleet.test_worker_dies import CALLER, plan, times_of

pytestmark = pytest.mark.fleet


@pytest.mark.parametrize(
    ("media_path", "reconnects"), [pytest.param("relayed", 0, marks=pytest.mark.slow), ("direct", 1)]
)
async def test_a_call_is_moved_with_its_conversation_and_the_worker_is_gone_in_seconds(
    media_path: str, reconnects: int
) -> None:
    call_id = f"moved-{uuid4().hex[:8]}"
    told: list[CarrierEvent] = []
    async with FakeProviders() as providers:
        env = {**providers.env, "SFVOPI_CARRIER_RECONNECTS": "yes"}
        async with LocalFleet(workers=2, env=env, media_path=media_path) as fleet:
            calling = asyncio.create_task(place_call(plan(call_id, fleet, Knobs(reconnects=3)), told.append))
            async with asyncio.timeout(20):
                while len(times_of(told, EventKind.BOT_QUIET)) < 2:
                    await asyncio.sleep(0.02)
            first = (await fleet.api.call(call_id))["call"]["worker_id"]
            await fleet.api.drain(first, handover=True)
            drained_at_ms = time.time() * 1000
            async with asyncio.timeout(8):
                while first in [worker["worker_id"] for worker in await fleet.api.workers()]:
                    await asyncio.sleep(0.05)
            assert not calling.done()
            report = await calling
            async with asyncio.timeout(20):
                while (figures := await fleet.api.fleet())["used"]:
                    await asyncio.sleep(0.1)
            call = (await fleet.api.call(call_id))["call"]
    assert report.outcome is CallOutcome.COMPLETED, report.to_dict()
    assert (report.reconnects, report.ended_by) == (reconnects, "bot")
    assert (call["attachments"], call["resumed"], call["afresh"], call["reason"]) == (2, 1, 0, "bot_ended")
    assert call["worker_id"] != first
    heard_again_ms = min(at for at in times_of(told, EventKind.BOT_SPEAKING) if at > drained_at_ms)
    assert heard_again_ms - drained_at_ms < 4_000
    assert heard_voices(report.heard_pcm).get(CALLER, 0) >= 3.2, "what was said first was known at the second worker"
    assert figures["drift"] == 0
