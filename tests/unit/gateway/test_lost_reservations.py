"""Streams of calls that the registry does not know any more, since it was started empty after their answer."""

import asyncio
from typing import Any

import pytest

from gateway.routing import Refused, Route, decide, decide_without_registry
from shared.fleet.worker import WorkerRecord, WorkerState, WorkerView
from shared.registry import MemoryRegistry
from shared.sfvopi.closing import Refusal
from shared.sfvopi.formats import PCMA_8K
from shared.tokens import StreamToken
from tests.unit.gateway.test_stream_tokens import url_for

NOW = 1_000_000
TOKEN = StreamToken("c-1", "w1", PCMA_8K, NOW + 60_000, NOW + 3_600_000)


def worker(worker_id: str, lease_ms: int = 5_000) -> WorkerView:
    return WorkerView(WorkerRecord(worker_id, "10.0.0.1:1", WorkerState.SERVING, 10), 0, NOW + lease_ms)


def test_a_lost_call_goes_to_the_worker_that_it_was_promised_or_to_the_best_other() -> None:
    promised = decide(TOKEN, None, [worker("w1"), worker("w2")], NOW, is_perhaps_lost=True)
    assert promised == Route("w1", "10.0.0.1:1")
    for gone in ([], [worker("w1", lease_ms=0)]):
        assert decide(TOKEN, None, [*gone, worker("w2")], NOW, is_perhaps_lost=True) == Route("w2", "10.0.0.1:1")
    assert decide(TOKEN, None, [], NOW, is_perhaps_lost=True) == Refused(Refusal.UNAVAILABLE, "full")


def test_without_the_registry_a_call_whose_worker_is_unknown_goes_to_the_best_one_last_heard_of() -> None:
    assert decide_without_registry(TOKEN, [worker("w2", lease_ms=-60_000)], NOW) == Route("w2", "10.0.0.1:1")


# -- over a socket


def lose_everything(house: Any) -> None:
    house.registry._calls.clear()
    house.registry._slots.__init__()


@pytest.fixture
async def quick(open_house: Any) -> Any:
    return await open_house(MemoryRegistry(settle_ms=300), heartbeat_s=0.3, lease_s=1)


async def test_its_stream_waits_until_the_workers_have_told_of_their_calls_and_is_taken(quick: Any) -> None:
    worker = await quick.start_worker("w1")
    await asyncio.sleep(0.31)  # the fleet's own first moment
    url = (await quick.answer("c-1")).url
    await asyncio.sleep(0.01)
    lose_everything(quick)
    worker.attaches = False
    stream = asyncio.create_task(quick.status_of(url))
    await asyncio.sleep(0.1)
    assert not worker.streams, "nobody knows yet who lives where"
    await worker.beat(10)
    assert await stream == 101
    assert len(worker.streams) == 1


async def test_a_call_that_lives_elsewhere_is_found_where_it_is_told_of(quick: Any) -> None:
    first, second = await quick.start_worker("w1"), await quick.start_worker("w2")
    await asyncio.sleep(0.31)
    url = (await quick.answer("c-1")).url
    async with quick.connect(url):
        living = await quick.registry.get("c-1")
        other = second if first.streams else first
        lose_everything(quick)
        stream = asyncio.create_task(quick.status_of(url))
        await other.beat(10)
        await asyncio.sleep(0.1)
        await (first if other is second else second).beat(10)
        await quick.registry.restore(living.with_changes({"worker_id": other.worker_id}))
        assert await stream == 101
        assert len(other.streams) == 1


async def test_a_call_that_never_was_waits_for_nobody(quick: Any) -> None:
    await quick.start_worker("another")
    async with asyncio.timeout(0.25):
        assert await quick.status_of(url_for(quick, "c-never", attach_ms=3_600_000)) == 404


@pytest.mark.parametrize("policy", ["hold", "busy", "reject"])
async def test_when_no_worker_has_room_the_default_policy_says_what_becomes_of_it(open_house: Any, policy: str) -> None:
    house = await open_house(MemoryRegistry(settle_ms=300), heartbeat_s=0.3, lease_s=1, overflow=policy)
    worker = await house.start_worker("w1")
    await asyncio.sleep(0.31)
    url = (await house.answer("c-1")).url
    await asyncio.sleep(0.01)
    lose_everything(house)
    worker.refuse_with = 503
    await worker.beat(10)
    if policy == "reject":
        assert await house.status_of(url) == 503
        return
    async with house.connect(url) as stream:
        await stream.send('{"event":"start","streamId":"s","callId":"x"}')
        if policy == "busy":
            async with asyncio.timeout(15):
                async for _ in stream:
                    pass
            assert stream.close_code == 1000
            return
        worker.refuse_with = None
        await house.until(lambda: worker.streams)
        assert (await house.registry.get("c-1")).is_held is False
