"""A bot is edited so that it cannot work, and deployed: the fleet goes on with what it has, and says why.

Seen: `sfvopi restart` replaced every process, said so, and each call got the apology from then on.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from shared.cli.fleet import FleetFailed, LocalFleet
from shared.cli.fleet.environment import ROOT

pytestmark = [pytest.mark.fleet, pytest.mark.slow]

GOOD = "from tests.fuzz.bots import listens as bot\n"
RAISES = "async def bot(runner_args):\n    raise ValueError('a typo of ours')\n"
AWAY = """
import asyncio
from pathlib import Path
from tests.fuzz.bots import listens

async def bot(runner_args):
    if not (Path(__file__).parent / "provider-is-back").exists():
        await asyncio.open_connection("127.0.0.1", 9)
    await listens(runner_args)
"""
ON_SALES, ON_SUPPORT = "+918000000001", "+918000000002"


@asynccontextmanager
async def a_fleet(folder: Path, workers: int = 1) -> AsyncIterator[LocalFleet]:
    """Two numbers, each with a bot of its own; a full fleet's callers hear the busy message."""
    (folder / "sales.py").write_text(GOOD)
    (folder / "support.py").write_text(GOOD)
    (folder / "bots.toml").write_text(
        f'[default]\nbot = "sales:bot"\n["{ON_SALES}"]\nbot = "sales:bot"\n["{ON_SUPPORT}"]\nbot = "support:bot"\n'
    )
    env = {
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "PYTHONDONTWRITEBYTECODE": "1",  # two edits within a second are two versions
        "SFVOPI_BOTS": str(folder / "bots.toml"),
        "SFVOPI_OVERFLOW": "busy",
    }
    async with LocalFleet(workers=workers, housekeeping=False, env=env, ready_within_s=90) as fleet:
        yield fleet


async def outcome(fleet: LocalFleet, number: str) -> str:
    """What a call to this number comes to: `reserved`, or why it was refused."""
    call_id = uuid4().hex
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as http:
        answered = await http.post(fleet.answer_url, json={"call_uuid": call_id, "to": number})
    assert answered.status_code == 200, answered.text
    record = (await fleet.api.call(call_id))["call"]
    return str(record["reason"] or record["state"])


async def bots_of(fleet: LocalFleet) -> dict[str, Any]:
    return {worker["worker_id"]: worker["bots"] for worker in await fleet.api.workers() if worker["fresh"]}


async def test_a_restart_stops_at_the_first_worker_that_can_run_no_bot_and_the_old_ones_stay(tmp_path: Path) -> None:
    async with a_fleet(tmp_path, workers=2) as fleet:
        for name in ("sales", "support"):
            (tmp_path / f"{name}.py").write_text(RAISES)
        with pytest.raises(FleetFailed) as failed:
            await fleet.rolling_restart()
        assert "worker-1 will not be ready (bot_failed)" in str(failed.value)
        assert "sales:bot: sales.py:2: ValueError: a typo of ours" in str(failed.value)
        assert fleet.generation["worker-1"] == fleet.generation["worker-2"] == 1
        assert [await outcome(fleet, number) for number in (ON_SALES, ON_SUPPORT)] == ["reserved", "reserved"]


async def test_of_two_bots_the_bad_one_alone_has_no_calls_until_it_is_mended(tmp_path: Path) -> None:
    async with a_fleet(tmp_path) as fleet:
        (tmp_path / "support.py").write_text(RAISES)
        await fleet.rolling_restart()
        assert (await bots_of(fleet))[fleet.worker_id("worker-1")] == ["sales:bot"]
        while len(await bots_of(fleet)) > 1:  # the old one leaves
            await asyncio.sleep(0.1)
        assert await outcome(fleet, ON_SALES) == "reserved"
        assert await outcome(fleet, ON_SUPPORT) == "busy_message"
        (tmp_path / "support.py").write_text(GOOD)
        await fleet.rolling_restart()
        assert await outcome(fleet, ON_SUPPORT) == "reserved"


async def test_a_provider_that_is_away_stops_no_deploy_and_is_noticed_when_it_is_back(tmp_path: Path) -> None:
    async with a_fleet(tmp_path) as fleet:
        (tmp_path / "support.py").write_text(AWAY)
        await fleet.rolling_restart()
        (address,) = {w["address"] for w in await fleet.api.workers() if w["worker_id"] == fleet.worker_id("worker-1")}
        said = await fleet.api.state_of(f"http://{address}")
        assert (said["readiness"], list(said["provider_away"])) == ("ready", ["support:bot"])
        assert "ConnectionRefusedError" in said["provider_away"]["support:bot"]
        assert await outcome(fleet, ON_SUPPORT) == "reserved"
        (tmp_path / "provider-is-back").touch()
        async with asyncio.timeout(30):
            while (await fleet.api.state_of(f"http://{address}"))["provider_away"]:
                await asyncio.sleep(0.2)
