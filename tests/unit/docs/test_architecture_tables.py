"""The tables of docs/architecture.md say what the code does: states, outcomes, keys in Redis, codes."""

import re
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from shared.calls.outcome import RESULT_OF, Reason
from shared.calls.state import MOVES, CallEvent, CallState
from shared.fleet.death import DeathCause, DeathNote
from shared.fleet.worker import Order, WorkerRecord, WorkerState
from shared.registry import RedisRegistry
from shared.registry.contract import Exposed, TimelineEntry
from shared.registry.endings import end_call
from shared.sfvopi.closing import CloseCode, Refusal
from tests.conftest import empty
from tests.documents import ROOT, table

DOCUMENT = "architecture.md"


def test_the_state_table_is_the_codes() -> None:
    told = {
        CallEvent(event): {
            CallState(before): CallState(after) for before, after in (move.split(" → ") for move in moves.split(", "))
        }
        for event, _, moves in table(DOCUMENT, "A call's states")
    }
    assert told == MOVES


def test_the_outcome_table_is_the_codes() -> None:
    rows = table(DOCUMENT, "Outcomes")
    assert {Reason(reason): result for result, reason, _ in rows} == RESULT_OF
    assert len(rows) == len(RESULT_OF)


def test_codes_and_statuses_are_the_codes() -> None:
    section = (ROOT / "docs" / DOCUMENT).read_text().partition("## Answering, refusing, closing")[2]
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", section.partition("\n## ")[0], re.MULTILINE)}
    assert codes >= set(Refusal) | set(CloseCode)


@pytest.fixture
async def found(redis_url: str) -> dict[str, tuple[str, int]]:
    """Every key that a fleet with a live and an ended call leaves in Redis: its type, and its time to live in s."""
    await empty(redis_url)
    registry = RedisRegistry.connect(redis_url, command_timeout_s=5, connect_timeout_s=5)
    worker = WorkerRecord("w1", "127.0.0.1:1", WorkerState.SERVING, 5)
    await registry.heartbeat(worker, [], 5000)
    await registry.give_order(worker, Order.DRAIN)
    await registry.saw_reconnect()
    await registry.gateway_heartbeat("g1", 5000)
    await registry.expose(Exposed("gateway", "g1", "127.0.0.1:9000"), 5000)
    for call_id in ("c1", "c2"):
        await registry.reserve(call_id, 60_000, number="+91", ceiling=5)
        await registry.move(call_id, CallEvent.ANSWER, {"worker_id": "w1"})
        await registry.note(call_id, [TimelineEntry(1, "test", "reserved", {})])
        attached = await registry.move(call_id, CallEvent.ATTACH, {})
        assert attached.record
        await registry.save_checkpoint(call_id, "{}", attached.record.epoch)
    await end_call(registry, "c2", Reason.CALLER_HUNG_UP)
    await registry.join_line("c3", 1, 5000, bot="my_bots.sales:bot")
    for call_id in ("c4", "c5", "c6"):
        await registry.convict(call_id, "my_bots.sales:bot", "")
    await registry.record_death(DeathNote("w1", 7, 1, DeathCause.CRASHED))
    await registry.reserve("c7", 5000, is_live=True, is_suspect=True)
    await registry.release("c7")
    await registry.heartbeat(replace(worker, bots=("my_bots.sales:bot",)), [], 5000)
    await registry.close()
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        return {key: (await redis.type(key), await redis.ttl(key)) async for key in redis.scan_iter()}


async def test_redis_holds_the_keys_that_are_told_and_no_others(found: dict[str, tuple[str, int]]) -> None:
    told = {}
    for key, kind, _, lives in table(DOCUMENT, "What Redis holds"):
        name = key.strip("`").replace("<worker_id>", "w1").replace("<number>", "+91").replace("<started_at_ms>", "7")
        count, unit, *_ = lives.split()
        seconds = float(count) * {"d": 86400, "h": 3600, "min": 60}[unit.rstrip(",;")]
        calls = ("c1",) if lives.endswith("until the call's end") else ("c1", "c2")  # c2 has ended
        for call_id in calls if "<call_id>" in name else ("",):
            told[name.replace("<call_id>", call_id)] = (kind, seconds)
    assert {key: (kind, round(ttl, -1)) for key, (kind, ttl) in found.items()} == told
