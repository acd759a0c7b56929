"""One slot in a fleet of real processes: who comes second waits in line, behind nginx too, or while a gateway dies."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shared.carrier.call import place_call
from shared.carrier.plan import CallPlan, HangUp, Knobs, Say, Step, Wait, WaitForBot
from shared.carrier.report import CallOutcome
from shared.cli.faults import CliFault
from shared.cli.fleet import LocalFleet
from tests.chaos.fleet import write_tone
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import BUSY, HOLD, caller_speech, heard_voices

pytestmark = [pytest.mark.fleet, pytest.mark.slow]

FIRST, SECOND = 4, 9


def plan(fleet: LocalFleet, call_id: str, *steps: Step) -> CallPlan:
    return CallPlan(
        answer_url=fleet.answer_url,
        fallback_url=fleet.fallback_url,
        hangup_url=fleet.hangup_url,
        call_uuid=call_id,
        steps=steps,
        knobs=Knobs(reconnects=20),
        max_s=60,
        keep_audio=True,
    )


async def until(fleet: LocalFleet, condition: Callable[[dict[str, Any]], bool]) -> None:
    """Until the fleet's figures are so; a gateway that is just starting has none."""
    async with asyncio.timeout(20):
        while True:
            try:
                if condition(await fleet.api.fleet()):
                    return
            except CliFault:
                pass
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(("media_path", "is_gateway_killed"), [("direct", False), ("relayed", True)])
async def test_who_comes_second_hears_music_and_then_the_bot_when_the_first_hangs_up(
    tmp_path: Path, media_path: str, is_gateway_killed: bool
) -> None:
    ids = [f"held-{n}-{uuid4().hex[:8]}" for n in range(3)]
    async with (
        FakeProviders() as providers,
        LocalFleet(
            workers=1,
            media_path=media_path,
            env={
                **providers.env,
                "SFVOPI_CALLS_PER_WORKER": "1",
                "SFVOPI_OVERFLOW": "hold",
                "SFVOPI_HOLD_WAV": str(write_tone(tmp_path / "hold.wav", HOLD)),
                "SFVOPI_BUSY_WAV": str(write_tone(tmp_path / "busy.wav", BUSY)),
            },
        ) as fleet,
    ):
        talking = asyncio.create_task(place_call(plan(fleet, ids[0], Wait(8), HangUp())))
        await until(fleet, lambda figures: figures["used"] == 1)
        says = (
            WaitForBot(quiet_s=30, limit_s=3),  # the music does not pause
            WaitForBot(quiet_s=1, limit_s=20),
            Say(pcm=caller_speech(SECOND)),
            WaitForBot(quiet_s=1, limit_s=10),
            HangUp(),
        )
        second = asyncio.create_task(place_call(plan(fleet, ids[1], *says)))
        await until(fleet, lambda figures: figures["waiting"] == 1)
        third = asyncio.create_task(place_call(plan(fleet, ids[2], *says)))
        await until(fleet, lambda figures: figures["waiting"] == 2)
        if is_gateway_killed:
            await asyncio.sleep(1)
            fleet.kill("gateway", signal.SIGKILL)
            await fleet.children["gateway"].wait()
            await fleet.start_process("gateway")
            await until(fleet, lambda figures: figures["waiting"] == 2)
        reports = [await talking, await second, await third]
        await until(fleet, lambda figures: figures["used"] == 0)
        records = [(await fleet.api.call(call_id))["call"] for call_id in ids]
    assert [report.outcome for report in reports] == [CallOutcome.COMPLETED] * 3, [r.to_dict() for r in reports]
    for report, record in zip(reports[1:], records[1:], strict=True):
        voices = heard_voices(report.heard_pcm, is_steady=True)
        assert voices.get(HOLD, 0) >= 1, voices
        assert voices.get(SECOND, 0) >= 0.5, voices
        assert voices.get(BUSY, 0) < 0.5, "the message lasts 1.5 s; where music breaks off, a moment may sound like it"
        assert (record["reason"], record["attachments"]) == ("caller_hung_up", 1)
        assert record["figures"]["hold_s"] > 1
    assert records[0]["ended_at_ms"] <= records[1]["first_attached_at_ms"], "one slot"
    assert records[1]["ended_at_ms"] <= records[2]["first_attached_at_ms"], "in the order of their coming"
