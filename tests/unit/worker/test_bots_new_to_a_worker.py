"""A call for a bot that this worker was not told of: only the gateways' settings name it."""

import asyncio
import time
from pathlib import Path

import pytest

from shared.calls.outcome import Reason
from worker.bot_loader import BotLoader

IMPORT_S = 0.6
SLOW = f"""
import time
time.sleep({IMPORT_S})
async def bot(runner_args): ...
"""


async def longest_stall_s() -> float:
    """The longest time that the loop did not come round, while such an import takes place."""
    longest, before, until = 0.0, time.monotonic(), time.monotonic() + 2 * IMPORT_S
    while before < until:
        await asyncio.sleep(0.005)
        longest, before = max(longest, time.monotonic() - before), time.monotonic()
    return longest


async def test_its_import_holds_no_other_call_up(start_worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_new_bot.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    fleet = await start_worker(start_deadline_s=5)
    fleet.app._load_bot = BotLoader().load
    stall = asyncio.create_task(longest_stall_s())
    await fleet.call(bot="slow_new_bot:bot")
    record = await fleet.ended()
    assert record.detail == "the bot ended before its pipeline had begun", "it ran"
    assert await stall < IMPORT_S / 2


async def test_one_that_nobody_has_ends_the_call_and_says_so(fleet) -> None:
    await fleet.call(bot="test:nobody_has_it")
    record = await fleet.ended()
    assert (record.reason, record.detail) == (Reason.BOT_ERROR, "BotNotFound")
