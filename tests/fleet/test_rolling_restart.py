"""Every process of a fleet is replaced while calls are up and more of them come: no caller notices.

The new processes are of another version than the old, this one and the one before: they share the fleet while the
restart goes on, after an update and when one is taken back.
"""

import asyncio
from collections import Counter
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from shared.calls.record import SCHEMA
from shared.carrier.call import place_call
from shared.carrier.plan import Ask, CallPlan, Knobs, Wait, WaitForBot
from shared.carrier.report import CallOutcome, CallReport
from shared.cli.fleet import LocalFleet
from shared.registry import open_registry
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import caller_speech, heard_voices
from tests.fleet import old_version
from tests.fleet.old_version import environment_of, environment_of_ours

pytestmark = [pytest.mark.fleet, pytest.mark.slow]


def version(schema: int, folder: Path) -> dict[str, str]:
    """The environment of a process of the version that keeps records by this schema."""
    return environment_of(folder) if schema == old_version.SCHEMA else environment_of_ours()


def talk(fleet: LocalFleet, number: int, stays_s: float) -> CallPlan:
    return CallPlan(
        answer_url=fleet.answer_url,
        fallback_url=fleet.fallback_url,
        hangup_url=fleet.hangup_url,
        call_uuid=f"rolling-{uuid4().hex[:8]}",
        steps=(
            WaitForBot(quiet_s=0.6, limit_s=10),
            Wait(stays_s),
            # starting processes take both cores at times: who is not understood says it again
            Ask(pcm=caller_speech(number), is_answer=lambda pcm, rate: number in heard_voices(pcm, rate), tries=4),
            Ask(pcm=caller_speech(number, "goodbye"), is_answer=lambda pcm, rate: False, quiet_s=4, tries=4),
        ),
        knobs=Knobs(reconnects=0),
        keep_audio=True,
        max_s=90,
    )


async def hammer(url: str, until: asyncio.Event) -> Counter[int]:
    """Hangups of calls that nobody knows, each on a connection of its own: what they are answered with."""
    statuses: Counter[int] = Counter()
    async with httpx2.AsyncClient(headers={"Connection": "close"}, timeout=10) as http:
        while not until.is_set():
            answered = await http.post(url, json={"call_uuid": uuid4().hex, "call_status": "NO_ANSWER"})
            statuses[answered.status_code] += 1
            await asyncio.sleep(0.02)
    return statuses


@pytest.mark.parametrize(
    ("media_path", "before", "after"),
    [("relayed", old_version.SCHEMA, SCHEMA), ("direct", SCHEMA, old_version.SCHEMA)],
    ids=["update, relayed", "back, direct"],
)
async def test_a_rolling_restart_under_calls_loses_none_and_refuses_none(
    media_path: str, before: int, after: int, tmp_path: Path
) -> None:
    async with (
        FakeProviders() as providers,
        LocalFleet(
            gateways=2,
            workers=2,
            env={**providers.env, **version(before, tmp_path)},
            media_path=media_path,
            stop_within_s=30,
            ready_within_s=90,
        ) as fleet,
    ):
        old = dict(fleet.children)
        is_over = asyncio.Event()
        hammering = asyncio.create_task(hammer(fleet.hangup_url, is_over))
        calls = [asyncio.create_task(place_call(talk(fleet, number, 20))) for number in (3, 5)]
        await asyncio.sleep(4)
        fleet.env = {**providers.env, **version(after, tmp_path)}
        restarting = asyncio.create_task(fleet.rolling_restart())
        number = 6
        while not restarting.done():
            calls.append(asyncio.create_task(place_call(talk(fleet, number, 0.2))))
            number += 1
            await asyncio.sleep(8)
        await restarting
        calls.append(asyncio.create_task(place_call(talk(fleet, number, 0.2))))
        is_over.set()
        reports: list[CallReport] = await asyncio.gather(*calls)
        statuses = await hammering
        left = {name: await asyncio.wait_for(child.wait(), 15) for name, child in old.items() if name in REPLACED}
        schemas = await schemas_of(fleet.redis_url, [report.call_uuid for report in reports])
    assert [report.outcome for report in reports] == [CallOutcome.COMPLETED] * len(reports), [
        report.to_dict() for report in reports if report.outcome is not CallOutcome.COMPLETED
    ]
    assert {report.webhook_status for report in reports} == {200}, "nobody was refused"
    assert [report.reconnects for report in reports] == [0] * len(reports), "no stream was cut"
    for number, report in zip((3, 5, *range(6, 100)), reports, strict=False):
        assert heard_voices(report.heard_pcm).get(number, 0) >= 1, number
    assert set(statuses) == {200}, statuses
    assert statuses[200] > 100
    assert set(left.values()) == {0}, "each left when its calls were over"
    assert (schemas[0], schemas[-1]) == (before, after), "the restart went from one version to the other"


async def schemas_of(redis_url: str, call_ids: list[str]) -> list[int]:
    registry = open_registry(redis_url)
    records = [await registry.get(call_id) for call_id in call_ids]
    await registry.close()
    return [record.schema if record else 0 for record in records]


REPLACED = {"gateway-1", "gateway-2", "worker-1", "worker-2", "housekeeping"}
