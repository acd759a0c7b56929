"""What workers offer below their capacity, what they are ordered, what they hear: as every registry must keep it."""

from dataclasses import replace

import pytest
from redis.asyncio import Redis

from shared.fleet.worker import Order, WorkerRecord, WorkerState
from shared.registry import RedisRegistry, Registry, keys
from shared.registry.stored import decode_worker
from tests.conftest import Clock, empty

LEASE_MS = 5_000
HOLD_MS = 60_000
WORKER = WorkerRecord("a", "127.0.0.1:1", WorkerState.SERVING, 3, started_at_ms=17)


async def test_new_calls_get_what_is_offered_and_no_more(registry: Registry) -> None:
    await registry.heartbeat(replace(WORKER, offers=1), [], LEASE_MS)
    assert await registry.reserve("c1", HOLD_MS) is not None
    assert await registry.reserve("c2", HOLD_MS) is None
    await registry.heartbeat(WORKER, [], LEASE_MS)
    assert await registry.reserve("c2", HOLD_MS) is not None


async def test_an_offer_above_the_capacity_is_the_capacity(registry: Registry) -> None:
    await registry.heartbeat(replace(WORKER, offers=9), [], LEASE_MS)
    assert [bool(await registry.reserve(f"c{n}", HOLD_MS)) for n in range(4)] == [True, True, True, False]


async def test_a_call_that_lives_goes_up_to_the_capacity_whatever_is_offered(registry: Registry) -> None:
    await registry.heartbeat(replace(WORKER, offers=0), [], LEASE_MS)
    held = [bool(await registry.reserve(f"c{n}", HOLD_MS, is_live=True)) for n in range(4)]
    assert held == [True, True, True, False]


async def test_a_call_that_was_promised_a_slot_is_taken_when_nothing_is_offered_any_more(registry: Registry) -> None:
    await registry.heartbeat(WORKER, [], LEASE_MS)
    await registry.reserve("promised", HOLD_MS)
    await registry.heartbeat(replace(WORKER, offers=0), [], LEASE_MS)
    assert await registry.occupy("promised", "a", LEASE_MS)
    assert not await registry.occupy("another", "a", LEASE_MS), "it has no slot, and nothing is offered"


async def test_who_offers_less_is_chosen_later(registry: Registry) -> None:
    await registry.heartbeat(replace(WORKER, offers=2), ["c1"], LEASE_MS)
    await registry.heartbeat(replace(WORKER, worker_id="b"), ["c2"], LEASE_MS)
    held = await registry.reserve("c3", HOLD_MS)
    assert held is not None
    assert held.worker_id == "b"


async def test_a_heartbeat_hears_which_slots_count(registry: Registry, clock: Clock) -> None:
    await registry.heartbeat(WORKER, [], LEASE_MS)
    await registry.reserve("waiting", HOLD_MS)
    await registry.reserve("lapsing", 10)
    clock.forward(10)
    heard = await registry.heartbeat(WORKER, ["living"], LEASE_MS)
    assert heard.slots == {"waiting", "living"}


async def test_a_slot_that_is_held_elsewhere_is_not_heard_of(registry: Registry) -> None:
    await registry.heartbeat(WORKER, ["moving"], LEASE_MS)
    await registry.heartbeat(replace(WORKER, worker_id="b"), [], LEASE_MS)
    await registry.reserve("moving", HOLD_MS, {"a"})
    assert (await registry.heartbeat(WORKER, ["moving"], LEASE_MS)).slots == frozenset()


async def test_an_order_is_heard_until_the_worker_is_gone(registry: Registry) -> None:
    assert (await registry.heartbeat(WORKER, [], LEASE_MS)).order is Order.NONE
    await registry.give_order(WORKER, Order.HAND_OVER)
    for _ in range(2):
        assert (await registry.heartbeat(WORKER, [], LEASE_MS)).order is Order.HAND_OVER
    await registry.remove_worker("a")
    assert (await registry.heartbeat(WORKER, [], LEASE_MS)).order is Order.NONE


async def test_another_start_under_the_same_id_was_not_ordered_anything(registry: Registry) -> None:
    await registry.give_order(WORKER, Order.DRAIN)
    assert (await registry.heartbeat(replace(WORKER, started_at_ms=18), [], LEASE_MS)).order is Order.NONE
    assert (await registry.heartbeat(WORKER, [], LEASE_MS)).order is Order.DRAIN


async def test_a_carrier_that_was_seen_to_reconnect_is_known_to_all(registry: Registry) -> None:
    assert not (await registry.heartbeat(WORKER, [], LEASE_MS)).carrier_reconnects
    await registry.saw_reconnect()
    assert (await registry.heartbeat(replace(WORKER, worker_id="b"), [], LEASE_MS)).carrier_reconnects


@pytest.mark.parametrize("offers", [None, 0, 2])
async def test_what_a_worker_says_of_its_load_is_listed(registry: Registry, offers: int | None) -> None:
    record = replace(WORKER, offers=offers, drift=1, eta_s=90)
    await registry.heartbeat(record, [], LEASE_MS)
    (view,) = await registry.workers()
    assert view.record == record


def test_a_record_of_the_version_before_offers_its_capacity() -> None:
    stored = '{"address":"127.0.0.1:1","state":"serving","capacity":5,"version":"0.0","started_at_ms":1,"schema":1}'
    record = decode_worker("old", stored)
    assert (record.offers, record.offered, record.drift, record.eta_s) == (None, 5, 0, None)


async def test_a_worker_whose_record_cannot_be_read_takes_no_living_call(redis_url: str, clock: Clock) -> None:
    await empty(redis_url)
    registry = RedisRegistry.connect(redis_url, clock=clock, command_timeout_s=5, connect_timeout_s=5)
    await registry.heartbeat(WORKER, [], LEASE_MS)
    async with Redis.from_url(redis_url) as redis:
        await redis.hset(keys.WORKERS, "a", "{")
    assert await registry.reserve("c", HOLD_MS, is_live=True) is None
    await registry.close()
