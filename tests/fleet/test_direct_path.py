"""Streams straight to their workers through a real nginx, with the configuration that is shipped."""

import asyncio
import signal
import time
from uuid import uuid4

import pytest

from shared.carrier.call import place_call
from shared.carrier.events import CarrierEvent, EventKind
from shared.carrier.plan import CallPlan, Knobs, Say, WaitForBot
from shared.carrier.report import CallOutcome
from shared.cli.fleet import LocalFleet
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import caller_speech, heard_voices
from tests.fleet.test_worker_dies import CALLER, plan, times_of

pytestmark = pytest.mark.fleet


@pytest.mark.parametrize("media_path", ["direct", pytest.param("relayed", marks=pytest.mark.slow)])
async def test_behind_nginx_a_call_goes_straight_to_its_worker_or_through_a_gateway_as_is_set(media_path: str) -> None:
    call_id = f"nginx-{uuid4().hex[:8]}"
    async with (
        FakeProviders() as providers,
        LocalFleet(workers=1, env=providers.env, media_path=media_path, has_nginx=True) as fleet,
    ):
        report = await place_call(
            CallPlan(
                answer_url=fleet.answer_url,
                hangup_url=fleet.hangup_url,
                call_uuid=call_id,
                steps=(
                    WaitForBot(quiet_s=0.6, limit_s=10),
                    Say(pcm=caller_speech(CALLER, "goodbye")),
                    WaitForBot(quiet_s=5, limit_s=10),
                ),
                max_s=40,
            )
        )
        shown = await fleet.api.call(call_id)
        logged = "".join(path.read_text() for path in fleet.folder.rglob("*.jsonl"))
    assert (report.outcome, report.ended_by) == (CallOutcome.COMPLETED, "bot"), report.to_dict()
    routed = [entry["data"]["path"] for entry in shown["timeline"] if entry["event"] == "routed"]
    assert routed == (["relayed"] if media_path == "relayed" else [])
    (stream,) = [line for line in logged.splitlines() if '"event":"stream"' in line]
    assert '"status":101' in stream
    assert "/ws/" not in logged, "tokens are in no log"


@pytest.mark.slow
@pytest.mark.parametrize(("sig", "within_ms"), [(signal.SIGKILL, 3_000), (signal.SIGSTOP, 9_000)])
async def test_a_direct_call_whose_worker_dies_or_freezes_goes_on_when_its_carrier_reconnects(
    sig: signal.Signals, within_ms: int
) -> None:
    call_id = f"direct-{uuid4().hex[:8]}"
    told: list[CarrierEvent] = []
    knobs = Knobs(reconnects=3)
    async with FakeProviders() as providers, LocalFleet(workers=2, env=providers.env, media_path="direct") as fleet:
        calling = asyncio.create_task(place_call(plan(call_id, fleet, knobs), told.append))
        async with asyncio.timeout(20):
            while len(times_of(told, EventKind.BOT_QUIET)) < 2:
                await asyncio.sleep(0.02)
        first = (await fleet.api.call(call_id))["call"]["worker_id"]
        fleet.kill("gateway", signal.SIGKILL)  # nobody on this path needs it, but for the way back
        await fleet.start_process("gateway")
        await fleet.wait_until_ready()
        fleet.kill(first, sig)
        killed_at_ms = time.time() * 1000
        report = await calling
        async with asyncio.timeout(10):
            while (await fleet.api.fleet())["used"]:
                await asyncio.sleep(0.1)
        call = (await fleet.api.call(call_id))["call"]
    assert report.outcome is CallOutcome.COMPLETED, report.to_dict()
    assert (report.reconnects, report.ended_by) == (1, "bot")
    heard_again_ms = min(at for at in times_of(told, EventKind.BOT_SPEAKING) if at > killed_at_ms)
    assert heard_again_ms - killed_at_ms < within_ms
    assert (call["attachments"], call["resumed"], call["afresh"], call["reason"]) == (2, 1, 0, "bot_ended")
    assert call["worker_id"] != first
    voices = heard_voices(report.heard_pcm)
    assert voices.get(CALLER, 0) >= 3.2, voices  # the first answer, and, when asked, what was said first
