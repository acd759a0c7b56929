"""The same gateway over a real Redis: one call from ring to hangup, a burst, and Redis gone in between."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.calls.state import CallState
from shared.registry import RegistryAway, open_registry
from tests.chaos.redis_under_fire import RedisUnderFire

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


@pytest.mark.timeout(60)
@pytest.mark.parametrize("trouble", ["frozen", "slow", "killed"])
async def test_webhooks_are_answered_in_time_whatever_redis_does(open_house: Any, tmp_path: Path, trouble: str) -> None:
    """Calls are placed from the gateway's share meanwhile, and known to Redis when it is back."""
    redis = RedisUnderFire(tmp_path)
    await redis.start()
    try:
        house = await open_house(open_registry(redis.url), heartbeat_s=0.3, lease_s=1)
        worker = await house.start_worker("w1", capacity=4)
        await house.registry.gateway_heartbeat("another", 60_000)
        await house.until(lambda: house.gateway.local._known.share() == 2)
        match trouble:
            case "frozen":
                redis.freeze()
            case "slow":
                redis.slow_down()
            case _:
                await redis.kill()
        took = await asyncio.gather(*(timed(house, f"c-{n}") for n in range(30)))
        again = [await timed(house, f"c-{n}") for n in range(3)]
        assert sorted(status for status, _ in took) == [200] * 2 + [503] * 28
        assert max(s for _, s in [*took, *again]) < 0.95
        assert max(s for _, s in again) < 0.7, "one timeout and no queue"
        match trouble:
            case "frozen":
                redis.thaw()
            case "slow":
                redis.speed_up()
            case _:
                await redis.start()
        async with asyncio.timeout(10):
            while house.gateway.local._given or house.gateway.local._refused:
                await asyncio.sleep(0.05)
                with contextlib.suppress(RegistryAway):
                    await worker.beat(4)
        assert await house.used_slots() == 2, "what Redis put aside too late is given back"
        placed = [record for record in await house.registry.recent_calls() if record.state is CallState.RESERVED]
        assert len(placed) == 2
    finally:
        redis.thaw()
        await redis.stop()


async def timed(house: Any, call_id: str) -> tuple[int, float]:
    """The status of an answer, and how long it took."""
    began = time.monotonic()
    return (await house.post("answer", {"call_uuid": call_id})).status_code, time.monotonic() - began
