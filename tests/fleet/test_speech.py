"""Two callers at once with real speech and real recognition, on one worker."""

import asyncio
from typing import Any

import pytest

from shared.carrier.call import place_call
from shared.carrier.plan import CallPlan, Say, WaitForBot
from shared.carrier.report import CallOutcome, CallReport
from shared.cli.fleet import LocalFleet
from tests.fleet.words import error_rate

pytestmark = [pytest.mark.fleet, pytest.mark.speech, pytest.mark.timeout(240)]

QUESTIONS = ("When do you open?", "Where are you located?")
GOODBYE = "Thank you very much. Goodbye."


async def test_two_callers_at_once_are_both_understood() -> None:
    async with LocalFleet(workers=1, env={"SFVOPI_TRANSCRIPTS": "on"}) as fleet:
        reports = await asyncio.gather(*(place_call(plan(fleet, question)) for question in QUESTIONS))
        shown = [await fleet.api.call(report.call_uuid) for report in reports]
    for question, report, call in zip(QUESTIONS, reports, shown, strict=True):
        check(question, report, call)


def check(question: str, report: CallReport, shown: dict[str, Any]) -> None:
    assert report.outcome is CallOutcome.COMPLETED, report.to_dict()
    assert report.ended_by == "bot"
    said = [entry["data"]["text"] for entry in shown["timeline"] if entry["event"] == "caller_said"]
    assert error_rate([question, GOODBYE], said) <= 0.10, said


def plan(fleet: LocalFleet, question: str) -> CallPlan:
    return CallPlan(
        answer_url=fleet.answer_url,
        fallback_url=fleet.fallback_url,
        hangup_url=fleet.hangup_url,
        steps=(
            WaitForBot(quiet_s=0.8, limit_s=15),
            Say(question),
            WaitForBot(quiet_s=1.0, limit_s=15),
            Say(GOODBYE),
            WaitForBot(quiet_s=5, limit_s=15),
        ),
        max_s=80,
    )
