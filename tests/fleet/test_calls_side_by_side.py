"""Ten calls at once through real processes, the providers faked at the wire: nobody hears another's conversation."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.carrier.call import place_call
from shared.carrier.plan import CallPlan, Say, WaitForBot
from shared.carrier.report import CallOutcome, CallReport
from shared.cli.fleet import LocalFleet
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import NOBODY, caller_speech, heard_voices

pytestmark = pytest.mark.fleet

CALLERS = range(0, 40, 4)  # ten whose voices are far enough apart to be told apart
A_WORD_S = 0.3  # the shortest thing the fake voice says; the click at the edge of a tone is shorter


@pytest.fixture
async def fleet() -> AsyncIterator[LocalFleet]:
    async with FakeProviders() as providers:
        env = {**providers.env, "SFVOPI_CALLS_PER_WORKER": "5", "SFVOPI_TRANSCRIPTS": "on"}
        async with LocalFleet(workers=2, env=env) as running:
            yield running


def conversation(fleet: LocalFleet, caller: int) -> CallPlan:
    """Greeting, a question of one's own, its answer, a goodbye; the bot ends the call."""
    return CallPlan(
        answer_url=fleet.answer_url,
        fallback_url=fleet.fallback_url,
        hangup_url=fleet.hangup_url,
        call_uuid=f"side-by-side-{caller}",
        steps=(
            WaitForBot(quiet_s=0.6, limit_s=10),
            Say(text=f"question {caller}", pcm=caller_speech(caller)),
            WaitForBot(quiet_s=0.6, limit_s=10),
            Say(text=f"goodbye {caller}", pcm=caller_speech(caller, "goodbye")),
            WaitForBot(quiet_s=5, limit_s=10),
        ),
        keep_audio=True,
        max_s=40,
    )


async def test_ten_calls_at_once_each_have_their_own_conversation(fleet: LocalFleet) -> None:
    reports = await asyncio.gather(*(place_call(conversation(fleet, caller)) for caller in CALLERS))
    for caller, report in zip(CALLERS, reports, strict=True):
        await check(fleet, caller, report)
    async with asyncio.timeout(10):
        while (await fleet.api.fleet())["used"]:  # every slot comes back
            await asyncio.sleep(0.1)


async def check(fleet: LocalFleet, caller: int, report: CallReport) -> None:
    assert report.outcome is CallOutcome.COMPLETED, report.to_dict()
    assert report.ended_by == "bot"
    voices = heard_voices(report.heard_pcm)
    own = voices.pop(caller, 0)
    voices.pop(NOBODY, 0)  # the greeting is the same for all
    assert own >= 1.0, f"caller {caller} was not answered: {voices}"
    others = {who for who, seconds in voices.items() if seconds >= A_WORD_S and who in CALLERS}
    assert not others, f"caller {caller} heard others: {voices}"
    shown = await fleet.api.call(report.call_uuid)
    assert shown["call"]["reason"] == "bot_ended"
    said = [entry["data"].get("text", "") for entry in shown["timeline"] if entry["event"] == "caller_said"]
    assert any(f"caller {caller}" in text for text in said), said
    assert not any(f"caller {other}" in text for text in said for other in CALLERS if other != caller), said
