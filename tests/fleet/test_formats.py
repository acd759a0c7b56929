"""A whole call in each format that the answer can promise, side by side in one fleet."""

import asyncio
from pathlib import Path

import pytest

from shared.carrier.call import place_call
from shared.carrier.plan import CallPlan, HangUp, Press, Say, Step, WaitForBot
from shared.carrier.report import CallOutcome
from shared.cli.fleet import LocalFleet
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import caller_speech, heard_voices

pytestmark = [pytest.mark.fleet, pytest.mark.slow]

NUMBERS = """
["+918000000001"]
codec = "PCMA"
["+918000000002"]
codec = "PCMU"
["+918000000003"]
codec = "L16"
["+918000000004"]
codec = "L16"
sample_rate = 16000
"""
FORMATS = {1: ("PCMA", 8000), 2: ("PCMU", 8000), 3: ("L16", 8000), 4: ("L16", 16000)}


async def test_a_whole_call_goes_through_in_every_format(tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.toml"
    numbers.write_text(NUMBERS)
    async with FakeProviders() as providers:
        env = {**providers.env, "SFVOPI_BOTS": str(numbers)}
        async with LocalFleet(workers=1, env=env) as fleet:
            reports = await asyncio.gather(*(place_call(plan(fleet, caller)) for caller in FORMATS))
    for (caller, (codec, rate)), report in zip(FORMATS.items(), reports, strict=True):
        assert report.outcome is CallOutcome.COMPLETED, report.to_dict()
        assert report.errors == []
        assert report.ended_by == ("bot" if rate == 8000 else "caller")
        assert (report.codec, report.sample_rate) == (codec, rate)
        assert report.frames_wrong_format == report.frames_dropped == 0
        assert "greeting_complete" in report.checkpoints
        assert heard_voices(report.heard_pcm, rate).get(caller, 0) >= 1.0, "read with the wrong law, a tone is noise"


def goodbye(caller: int) -> tuple[Step, ...]:
    """The marker of this wish lies at the very edge of the telephone's band: resampling from 16 kHz loses it."""
    return Say(pcm=caller_speech(caller, "goodbye")), WaitForBot(quiet_s=5, limit_s=10)


def plan(fleet: LocalFleet, caller: int) -> CallPlan:
    return CallPlan(
        answer_url=fleet.answer_url,
        fallback_url=fleet.fallback_url,
        hangup_url=fleet.hangup_url,
        to_number=f"+91800000000{caller}",
        steps=(
            WaitForBot(quiet_s=0.6, limit_s=10),
            Say(pcm=caller_speech(caller)),
            WaitForBot(quiet_s=0.6, limit_s=10),
            Press("1"),
            WaitForBot(quiet_s=0.6, limit_s=10),
            *(goodbye(caller) if FORMATS[caller][1] == 8000 else (HangUp(),)),
        ),
        keep_audio=True,
        max_s=60,
    )
