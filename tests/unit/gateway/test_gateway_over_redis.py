"""The same gateway over a real Redis: one call from ring to hangup, a burst, and Redis gone in between."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.calls.state import CallState
from shared.registry import open_registry

HANGUP = {"call_uuid": "c-1", "call_status": "COMPLETED", "duration": 3, "hangup_cause": "16"}


@pytest.fixture
async def empty_redis(redis_url: str) -> str:
    client = Redis.from_url(redis_url)
    await client.flushall()
    await client.aclose()
    return redis_url


async def test_a_call_from_ring_to_hangup(open_house: Any, empty_redis: str) -> None:
    house = await open_house(open_registry(empty_redis))
    worker = await house.start_worker("w1")
    await house.post("ring", {"call_uuid": "c-1", "direction": "OUTBOUND", "to": "+919000000001"})
    answer = await house.answer("c-1", direction="OUTBOUND")
    async with house.connect(answer.url) as carrier:
        await carrier.send("hello")
        await house.until(lambda: worker.streams[0].received == ["hello"])
        assert (await house.registry.get("c-1")).state is CallState.ACTIVE
        again = await house.answer("c-1", "fallback")
        assert again.format == answer.format
    await house.post("hangup", HANGUP)
    record = await house.registry.get("c-1")
    assert (record.state, record.reason, record.carrier_duration_s) == (CallState.ENDED, "caller_hung_up", 3.0)
    assert await house.used_slots() == 0
    assert await house.status_of(answer.url) == 403

    async def all_is_noted() -> bool:
        return {"webhook", "reserved", "routed", "carrier_ended", "ended"} <= set(await house.timeline("c-1"))

    async with asyncio.timeout(2):
        while not await all_is_noted():
            await asyncio.sleep(0.01)
    shown = (await house.inner.get("/api/calls/c-1")).json()["call"]
    assert (shown["result"], shown["hangup_cause"]) == ("completed", "16")


async def test_a_burst_of_answers_gets_no_more_slots_than_there_are(open_house: Any, empty_redis: str) -> None:
    house = await open_house(open_registry(empty_redis))
    await house.start_worker("w1", capacity=7)
    await house.start_worker("w2", capacity=5)
    responses = await asyncio.gather(*(house.post("answer", {"call_uuid": f"c-{n}"}) for n in range(60)))
    assert sorted(response.status_code for response in responses) == [200] * 12 + [503] * 48
    assert await house.used_slots() == 12
