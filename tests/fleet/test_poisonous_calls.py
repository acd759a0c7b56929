"""A call whose bot kills its worker, in fleets of real processes: two workers die of it, and no other call is lost."""

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shared.carrier.call import place_call
from shared.carrier.plan import Ask, CallPlan, HangUp, Wait, WaitForBot
from shared.carrier.report import CallOutcome, CallReport
from shared.cli.fleet import LocalFleet
from shared.cli.fleet.environment import ROOT
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import caller_speech, heard_voices
from tests.fleet.old_version import environment_of

pytestmark = pytest.mark.fleet

NUMBER = "+918047001099"
CALLERS = (3, 9, 15)


def plan(fleet: LocalFleet, **more: Any) -> CallPlan:
    return CallPlan(
        answer_url=fleet.answer_url,
        fallback_url=fleet.fallback_url,
        hangup_url=fleet.hangup_url,
        call_uuid=f"poison-{uuid4().hex[:8]}",
        **more,
    )


def healthy(fleet: LocalFleet, caller: int) -> CallPlan:
    """Talks before and after the others' deaths."""
    question = Ask(
        pcm=caller_speech(caller), is_answer=lambda pcm, rate: caller in heard_voices(pcm, rate), answer_s=6, tries=6
    )
    steps = (WaitForBot(quiet_s=0.6, limit_s=15), question, Wait(14), question, HangUp())
    return plan(fleet, steps=steps, max_s=90)


async def beside(fleet: LocalFleet) -> tuple[CallReport, list[CallReport], dict[str, Any], list[dict[str, Any]]]:
    """A poisonous call among healthy ones: its report and theirs, its record, and theirs."""
    talking = [asyncio.create_task(place_call(healthy(fleet, caller))) for caller in CALLERS]
    await asyncio.sleep(6.5)  # they are no longer young, and have all said something
    poisonous = await place_call(plan(fleet, to_number=NUMBER, steps=(Wait(40), HangUp()), max_s=60))
    others = await asyncio.gather(*talking)
    records = [(await fleet.api.call(report.call_uuid))["call"] for report in (poisonous, *others)]
    return poisonous, others, records[0], records[1:]


def settings(folder: Path, sort: str) -> dict[str, str]:
    """A bot that kills its process answers at one number. It is a module of its own: any version may load it."""
    shutil.copy(ROOT / "tests" / "chaos" / "poison.py", folder / "poison_of_a_user.py")
    numbers = folder / "bots.toml"
    numbers.write_text(f'["{NUMBER}"]\nbot = "poison_of_a_user:{sort}"\n')
    return {
        "SFVOPI_BOTS": str(numbers),
        "SFVOPI_LAG_LIMIT_MS": "0",  # three workers on a busy machine
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
    }


@pytest.mark.slow
async def test_two_workers_die_of_a_poisonous_call_and_every_other_call_goes_on(tmp_path: Path) -> None:
    """Of a crash; the chaos scene plays every sort, beside each other."""
    async with (
        FakeProviders() as providers,
        LocalFleet(workers=3, env={**providers.env, **settings(tmp_path, "crashes")}, ready_within_s=60) as fleet,
    ):
        poisonous, others, record, records = await beside(fleet)
        running = sum(fleet.children[name].is_running for name in fleet.worker_names)
    assert (record["result"], record["reason"]) == ("failed", "poisonous"), record
    assert poisonous.ended_by == "bot", "it heard the apology to its end"
    assert record["detail"].count("worker-") == 2
    assert running == 1, "nobody starts them again here: two have died, the third has all that live"
    assert [report.outcome for report in others] == [CallOutcome.COMPLETED] * 3, [o.to_dict() for o in others]
    assert [each["reason"] for each in records] == ["caller_hung_up"] * 3


@pytest.mark.slow
async def test_a_worker_of_the_version_before_names_no_culprit_and_costs_one_more_worker(tmp_path: Path) -> None:
    """It writes no seat, and nobody notes its death: what died with it was a passenger, for all that is known."""
    old = tmp_path / "old"
    old.mkdir()
    before = environment_of(old)["PYTHONPATH"]
    async with (
        FakeProviders() as providers,
        LocalFleet(workers=4, env={**providers.env, **settings(tmp_path, "leaves")}, ready_within_s=60) as fleet,
    ):
        ours = fleet.env
        fleet.kill("worker-1", signal.SIGTERM)  # whose place the old one takes, which comes first: equals go by name
        await asyncio.wait_for(fleet.children["worker-1"].wait(), 30)
        fleet.env = {**ours, "PYTHONPATH": os.pathsep.join([before, str(tmp_path)])}
        await fleet.start_process("worker-1")
        fleet.env = ours
        await fleet.wait_until_ready(60)
        _, others, record, records = await beside(fleet)
        running = [name for name in fleet.worker_names if fleet.children[name].is_running]
    assert len(running) >= 1, "two, and perhaps the old one"
    assert (record["result"], record["reason"]) == ("failed", "poisonous"), record
    assert [report.outcome for report in others] == [CallOutcome.COMPLETED] * 3, [o.to_dict() for o in others]
    assert [each["reason"] for each in records] == ["caller_hung_up"] * 3
