"""A live call and a real Redis that freezes, is slow, is killed, or fails over: the caller hears no difference."""

import asyncio
import base64
import time
from contextlib import asynccontextmanager

import pytest

from shared.registry import RegistryAway, open_registry
from tests.chaos.redis_under_fire import RedisUnderFire, SentinelRedis

TROUBLE_S = 2.5


@asynccontextmanager
async def speaking(start_worker, until, url):
    """A call in which the bot speaks for ten seconds."""
    fleet = await start_worker(open_registry(url))
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.press("8")
    await until(lambda: carrier.heard_s > 0.3)
    yield fleet, carrier


def heard_since(carrier, at):
    """Seconds of speech since then."""
    audio = [message for when, message in carrier.heard if when >= at and message["event"] == "playAudio"]
    return sum(len(base64.b64decode(message["media"]["payload"])) for message in audio) / 8000


async def speaks_on(carrier):
    began = time.monotonic()
    await asyncio.sleep(TROUBLE_S)
    assert heard_since(carrier, began) > TROUBLE_S - 0.7, "whoever waits for Redis falls behind by 0.3 s each time"


async def is_told(fleet):
    """The registry is back and knows the call as ours."""
    async with asyncio.timeout(15):
        while True:
            try:
                record = await fleet.registry.get("call-1")
                used = [view.used for view in await fleet.registry.workers()]
            except RegistryAway:
                record, used = None, []
            if record and record.epoch == fleet.app.sessions.get("call-1").fence and used == [1]:
                return
            await asyncio.sleep(0.05)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("trouble", ["frozen", "slow", "killed", "restarted empty"])
async def test_a_live_call_does_not_notice(start_worker, until, tmp_path, trouble):
    redis = RedisUnderFire(tmp_path)
    await redis.start()
    try:
        async with speaking(start_worker, until, redis.url) as (fleet, carrier):
            match trouble:
                case "frozen":
                    redis.freeze()
                    await speaks_on(carrier)
                    redis.thaw()
                case "slow":
                    redis.slow_down()
                    await speaks_on(carrier)
                    redis.speed_up()
                case "killed":
                    await redis.kill()
                    await speaks_on(carrier)
                    await redis.start()
                case _:
                    await redis.restart_empty()
                    await speaks_on(carrier)
            await is_told(fleet)
            assert fleet.app.sessions.get("call-1").ending is None
    finally:
        redis.thaw()
        await redis.stop()


@pytest.mark.timeout(60)
async def test_a_live_call_does_not_notice_that_another_redis_is_the_master_now(start_worker, until, tmp_path):
    redis = SentinelRedis(tmp_path)
    await redis.start()
    try:
        async with speaking(start_worker, until, redis.url) as (fleet, carrier):
            await redis.fail_over()
            await speaks_on(carrier)
            await is_told(fleet)
            assert fleet.app.sessions.get("call-1").ending is None
    finally:
        await redis.stop()
