"""A bot that only some workers can run, or none: its calls go there, or get what a full fleet's do."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.gateway.test_hold import on_the_line, prompts, waiting

__all__ = ["prompts"]

SALES, SUPPORT = "m:sales", "m:support"
ON_SALES, ON_SUPPORT = "+918000000001", "+918000000002"


@pytest.fixture
def two_bots(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "bots.toml").write_text(f'["{ON_SALES}"]\nbot = "{SALES}"\n["{ON_SUPPORT}"]\nbot = "{SUPPORT}"\n')
    return {"numbers_file": tmp_path / "bots.toml", "heartbeat_s": 0.1}


async def test_a_call_goes_to_the_workers_that_can_run_its_bot(open_house: Any, two_bots: dict[str, Any]) -> None:
    house = await open_house(**two_bots)
    able = await house.start_worker("w1", capacity=2, bots=(SALES, SUPPORT))
    unable = await house.start_worker("w2", capacity=9, bots=(SALES,))
    for call_id in ("c-1", "c-2"):
        async with house.connect((await house.answer(call_id, to=ON_SUPPORT)).url):
            pass
    assert (len(able.streams), len(unable.streams)) == (2, 0)
    full = await house.post("answer", {"call_uuid": "c-3", "to": ON_SUPPORT})
    assert full.status_code == 503
    await house.answer("c-4", to=ON_SALES)


async def test_a_call_of_a_bot_that_no_worker_can_run_gets_what_a_full_fleets_do(
    open_house: Any, two_bots: dict[str, Any]
) -> None:
    house = await open_house(**two_bots, overflow="busy")
    await house.start_worker(bots=(SALES,))
    await house.answer("c-1", to=ON_SUPPORT)
    record = await house.registry.get("c-1")
    assert (record.result, record.reason) == ("refused", "busy_message")


async def test_a_worker_that_refuses_a_bot_is_no_dead_end_for_its_call(
    open_house: Any, two_bots: dict[str, Any]
) -> None:
    """It lists the bot no longer, or is of the version before and does not list any."""
    house = await open_house(**two_bots)
    refuses = await house.start_worker("w1", capacity=9)
    url = (await house.answer("c-1", to=ON_SUPPORT)).url
    refuses.refuse_with = 503
    await house.start_worker("w2", capacity=9, bots=(SALES,))
    able = await house.start_worker("w3", capacity=1, bots=(SUPPORT,))
    async with house.connect(url):
        await house.until(lambda: able.streams)


async def test_callers_held_for_a_bot_that_nobody_runs_hold_nobody_else_up(
    open_house: Any, two_bots: dict[str, Any], prompts: dict[str, Any]
) -> None:
    house = await open_house(**two_bots, **prompts)
    worker = await house.start_worker("w1", capacity=1, bots=(SALES,))
    await house.answer("live", to=ON_SALES)
    held = await house.answer("c-1", to=ON_SUPPORT)
    later = await house.answer("c-2", to=ON_SALES)
    async with on_the_line(house, held.url), on_the_line(house, later.url):
        await house.until(lambda: house.metric("sfvopi_held_calls") == 2)
        await house.registry.release("live")
        await house.until(lambda: worker.streams)
        assert await waiting(house) == ["c-1"]
        worker.bots = None
        await worker.beat(2)
        await house.until(lambda: len(worker.streams) == 2)
