"""Which bots a worker can run, and whose calls it gets for it: as every registry must keep it."""

import json
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from shared.fleet.worker import WorkerRecord, WorkerState
from shared.registry import RedisRegistry, Registry, keys
from shared.registry.stored import decode_worker, encode_worker
from tests.conftest import Clock, empty

LEASE_MS = 5_000
HOLD_MS = 60_000
SALES, SUPPORT = "m:sales", "m:support"
ANY = WorkerRecord("a", "127.0.0.1:1", WorkerState.SERVING, 2)
ONLY_SALES = replace(ANY, worker_id="b", bots=(SALES,))


async def place(registry: Registry, call_id: str, bot: str, **how: bool) -> str | None:
    """The worker that it is placed on."""
    held = await registry.reserve(call_id, HOLD_MS, bot=bot, **how)
    return held and held.worker_id


async def test_a_worker_gets_only_calls_of_bots_that_it_can_run(registry: Registry) -> None:
    """One worker had a bot that failed; its calls ended there, seconds after the deploy."""
    await registry.heartbeat(ONLY_SALES, [], LEASE_MS)
    assert await place(registry, "c1", SUPPORT) is None
    assert await place(registry, "c1", SALES) == "b"
    assert await place(registry, "c2", "") == "b", "nobody knows its bot"


async def test_a_worker_that_lists_no_bots_gets_calls_of_any(registry: Registry) -> None:
    """The version before this one says nothing of its bots."""
    await registry.heartbeat(replace(ANY, capacity=9), ["x", "y"], LEASE_MS)
    await registry.heartbeat(ONLY_SALES, [], LEASE_MS)
    assert await place(registry, "c1", SUPPORT) == "a"
    assert await place(registry, "c2", SALES) == "b", "and the order among those that can run it is what it was"


async def test_an_empty_list_is_a_worker_that_runs_none(registry: Registry) -> None:
    await registry.heartbeat(replace(ANY, bots=()), [], LEASE_MS)
    assert await place(registry, "c1", SALES) is None


async def test_a_call_that_lives_goes_only_where_its_bot_runs(registry: Registry) -> None:
    await registry.heartbeat(replace(ONLY_SALES, offers=0), [], LEASE_MS)
    assert await place(registry, "c1", SUPPORT, is_live=True) is None
    assert await place(registry, "c1", SALES, is_live=True) == "b"


async def test_a_slot_that_is_held_is_kept_whatever_the_worker_lists_since(registry: Registry) -> None:
    """The worker has the last word, and its slot is given back when another one is found."""
    await registry.heartbeat(replace(ONLY_SALES, bots=None), [], LEASE_MS)
    assert await place(registry, "c1", SUPPORT) == "b"
    await registry.heartbeat(ONLY_SALES, [], LEASE_MS)
    assert await place(registry, "c1", SUPPORT) == "b"
    await registry.heartbeat(ANY, [], LEASE_MS)
    moved = await registry.reserve("c1", HOLD_MS, {"b"}, bot=SUPPORT)
    assert moved is not None
    assert moved.worker_id == "a"


async def test_callers_who_wait_for_a_bot_that_no_worker_runs_keep_nobody_else_waiting(
    registry: Registry, clock: Clock
) -> None:
    await registry.heartbeat(ONLY_SALES, [], LEASE_MS)
    for n in range(5):
        await registry.join_line(f"waits{n}", clock() - 10, LEASE_MS, bot=SUPPORT)
    assert await place(registry, "new", SALES, in_turn=True) == "b"


async def test_callers_who_wait_for_a_bot_that_runs_there_come_first(registry: Registry, clock: Clock) -> None:
    await registry.heartbeat(ONLY_SALES, [], LEASE_MS)
    await registry.join_line("w1", clock() - 10, LEASE_MS, bot=SALES)
    await registry.join_line("w2", clock() - 10, LEASE_MS)
    assert await place(registry, "new", SALES, in_turn=True) is None
    assert await place(registry, "w1", SALES, in_turn=True) == "b"


async def test_who_joins_again_waits_for_the_bot_that_is_named_then(registry: Registry, clock: Clock) -> None:
    await registry.heartbeat(replace(ONLY_SALES, capacity=1), [], LEASE_MS)
    await registry.join_line("w", clock() - 10, LEASE_MS, bot=SUPPORT)
    await registry.join_line("w", clock() - 10, LEASE_MS, bot=SALES)
    assert await place(registry, "new", SALES, in_turn=True) is None
    await registry.join_line("w", clock() - 10, LEASE_MS, bot=SUPPORT)
    assert await place(registry, "new", SALES, in_turn=True) == "b"


async def test_the_list_is_read_as_it_was_written(registry: Registry) -> None:
    await registry.heartbeat(ONLY_SALES, [], LEASE_MS)
    await registry.heartbeat(ANY, [], LEASE_MS)
    assert [view.record.bots for view in await registry.workers()] == [None, (SALES,)]


@pytest.mark.parametrize(
    ("stored", "bots"),
    [
        ({}, None),
        ({"bots": None}, None),
        ({"bots": "all"}, None),
        ({"bots": []}, ()),
        ({"bots": [SALES, 7]}, (SALES, "7")),
    ],
)
def test_a_list_of_another_version_is_read_as_far_as_it_is_one(stored: dict[str, object], bots: object) -> None:
    record = json.loads(encode_worker(ANY))
    del record["bots"]
    assert decode_worker("a", json.dumps({**record, **stored})).bots == bots


async def test_a_record_of_the_version_before_takes_any_bot_in_redis_itself(redis_url: str, clock: Clock) -> None:
    await empty(redis_url)
    registry = RedisRegistry.connect(redis_url, clock=clock, command_timeout_s=5, connect_timeout_s=5)
    client = Redis.from_url(redis_url, decode_responses=True)
    await registry.heartbeat(ONLY_SALES, [], LEASE_MS)
    record = json.loads(encode_worker(ONLY_SALES))
    del record["bots"]
    await client.hset(keys.WORKERS, "b", json.dumps(record))
    assert await place(registry, "c", SUPPORT) == "b"
    await client.aclose()
    await registry.close()
