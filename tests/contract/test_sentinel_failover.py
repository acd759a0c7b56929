"""Real sentinels make a master of a replica: the registry follows, with all that it knew, and so do its listeners."""

import asyncio
import time
from pathlib import Path

import pytest

from shared.calls.state import CallEvent
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.registry import Registry, RegistryAway, open_registry
from tests.chaos.redis_under_fire import SentinelRedis, ask

WORKER = WorkerRecord("w", "127.0.0.1:1", WorkerState.SERVING, 5)


@pytest.mark.timeout(60)
async def test_the_registry_is_back_a_moment_after_the_sentinels_decision(tmp_path: Path) -> None:
    redis = SentinelRedis(tmp_path)
    await redis.start()
    registry = open_registry(redis.url)
    heard: list[str] = []
    listening = asyncio.create_task(listen(registry, heard))
    try:
        await registry.heartbeat(WORKER, [], 60_000)
        held = await registry.reserve("c", 60_000)
        await registry.move("c", CallEvent.ANSWER, {"worker_id": "w"})
        async with asyncio.timeout(10):
            while b"sfvopi:call:{c}:record" not in await ask(redis.replica.port, "KEYS", "*record"):
                await asyncio.sleep(0.05)
        await redis.fail_over()
        async with asyncio.timeout(30):
            while str(redis.replica.port).encode() not in await master(redis):
                await asyncio.sleep(0.05)
        decided_at = time.monotonic()
        async with asyncio.timeout(10):
            while not await answers(registry):
                await asyncio.sleep(0.05)
        assert time.monotonic() - decided_at < 1.5
        assert await registry.reserve("c", 1) == held, "what was known is known"
        async with asyncio.timeout(10):
            while "after" not in heard:
                await registry.nudge("w", "after")
                await asyncio.sleep(0.1)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await registry.close()
        await redis.stop()


async def master(redis: SentinelRedis) -> bytes:
    return await ask(redis.sentinel_port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", redis.SERVICE)


async def answers(registry: Registry) -> bool:
    """Whether it takes what is to be written."""
    try:
        await registry.heartbeat(WORKER, [], 60_000)
    except RegistryAway:
        return False
    return True


async def listen(registry: Registry, heard: list[str]) -> None:
    """As a worker does: again a moment after each loss."""
    while True:
        try:
            async for message in registry.nudges("w"):
                heard.append(message)
        except RegistryAway:
            await asyncio.sleep(0.2)
