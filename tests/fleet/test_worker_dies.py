"""A worker is killed under a live call, in a fleet of real processes: another one goes on with the conversation."""

import asyncio
import signal
import time
from uuid import uuid4

import pytest

from shared.carrier.call import place_call
from shared.carrier.events import CarrierEvent, EventKind
from shared.carrier.plan import CallPlan, Knobs, Say, Wait, WaitForBot
from shared.carrier.report import CallOutcome
from shared.cli.fleet import LocalFleet
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import caller_speech, heard_voices

pytestmark = pytest.mark.fleet

CALLER, OTHER = 4, 9


def plan(call_id: str, fleet: LocalFleet, knobs: Knobs | None = None) -> CallPlan:
    return CallPlan(
        answer_url=fleet.answer_url,
        fallback_url=fleet.fallback_url,
        hangup_url=fleet.hangup_url,
        call_uuid=call_id,
        steps=(
            WaitForBot(quiet_s=0.6, limit_s=10),
            Say(pcm=caller_speech(CALLER)),
            WaitForBot(quiet_s=0.6, limit_s=10),
            Wait(8),  # the worker is killed or frozen meanwhile, and the new one says that it is there
            Say(pcm=caller_speech(OTHER, "recall")),  # what was said first, only the conversation knows
            WaitForBot(quiet_s=0.8, limit_s=10),
            Say(pcm=caller_speech(CALLER, "goodbye")),
            WaitForBot(quiet_s=5, limit_s=10),
        ),
        knobs=knobs or Knobs(),
        max_s=60,
        keep_audio=True,
    )


@pytest.mark.parametrize(
    ("sig", "within_ms"),
    [
        (signal.SIGKILL, 2_000),
        pytest.param(signal.SIGSTOP, 8_000, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 4_000, marks=pytest.mark.slow),
    ],
)
async def test_a_call_whose_worker_dies_freezes_or_is_drained_goes_on_with_its_conversation_on_the_same_stream(
    sig: signal.Signals, within_ms: int
) -> None:
    call_id = f"killed-{uuid4().hex[:8]}"
    told: list[CarrierEvent] = []
    async with (
        FakeProviders() as providers,
        LocalFleet(workers=2, env={**providers.env, "SFVOPI_DRAIN_DEADLINE_S": "1"}) as fleet,
    ):
        calling = asyncio.create_task(place_call(plan(call_id, fleet), told.append))
        async with asyncio.timeout(20):
            while len(times_of(told, EventKind.BOT_QUIET)) < 2:  # the greeting, and the first answer
                await asyncio.sleep(0.02)
        first = (await fleet.api.call(call_id))["call"]["worker_id"]
        fleet.kill(first, sig)
        killed_at_ms = time.time() * 1000
        report = await calling
        assert not fleet.children[first].is_running, "frozen, it is killed by its watchdog; drained, it ends"
        async with asyncio.timeout(10):
            while (await fleet.api.fleet())["used"]:
                await asyncio.sleep(0.1)
        shown = await fleet.api.call(call_id)
    assert report.outcome is CallOutcome.COMPLETED, report.to_dict()
    assert (report.reconnects, report.errors, report.ended_by) == (0, [], "bot")
    assert report.checkpoints.count("greeting_complete") == 1
    heard_again_ms = min(at for at in times_of(told, EventKind.BOT_SPEAKING) if at > killed_at_ms)
    assert heard_again_ms - killed_at_ms < within_ms
    call = shown["call"]
    assert (call["attachments"], call["resumed"], call["afresh"], call["reason"]) == (2, 1, 0, "bot_ended")
    voices = heard_voices(report.heard_pcm)
    assert voices.get(CALLER, 0) >= 3.2, voices  # the first answer, and, when asked, what was said first
    assert call["worker_id"] != first
    (reattached,) = [entry["data"] for entry in shown["timeline"] if entry["event"] == "reattached"]
    assert (reattached["lost"], reattached["worker_id"]) == (first, call["worker_id"])


def times_of(told: list[CarrierEvent], kind: EventKind) -> list[int]:
    return [event.at_ms for event in told if event.kind is kind]
