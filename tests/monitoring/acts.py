"""What goes wrong on that day, each thing once, and which alerts are to say so."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from redis.asyncio import Redis

from shared.cli.faults import CliFault
from shared.cli.fleet import LocalFleet
from shared.registry import keys
from tests.fakes.faults import Fault
from tests.fakes.providers import FakeProviders
from tests.monitoring.callers import BROKEN, FORGETFUL, FRONT_DESK, PATIENT, call_once, calling, listen

LEASE_S, RECONNECT_S = 3, 2
SLOW_VOICE_S = 4.0
BACK_S = 20.0


@dataclass(frozen=True)
class Act:
    """`alerts` are to fire while `doing` goes on; it is left as soon as they do."""

    name: str
    alerts: tuple[str, ...]
    doing: Callable[["Day"], contextlib.AbstractAsyncContextManager[None]]
    within_s: float = 45.0


@dataclass(frozen=True)
class Day:
    """Whose day it is."""

    fleet: LocalFleet
    providers: FakeProviders
    faults: list[str] = field(default_factory=list)  # of the acts themselves

    def workers(self) -> list[int]:
        return [self.fleet.pid(name) for name in self.fleet.worker_names]


@contextlib.asynccontextmanager
async def meanwhile(work: Awaitable[None]) -> AsyncIterator[None]:
    """Something that goes on until the end of the block."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def blink(pids: list[int], stands_s: float, runs_s: float) -> None:
    """Processes that stand still again and again, as on a machine that is too small."""
    try:
        while True:
            _send(pids, signal.SIGSTOP)
            await asyncio.sleep(stands_s)
            _send(pids, signal.SIGCONT)
            await asyncio.sleep(runs_s)
    finally:
        _send(pids, signal.SIGCONT)


def _send(pids: list[int], what: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)


@contextlib.asynccontextmanager
async def too_many_calls(day: Day) -> AsyncIterator[None]:
    async with calling(day.fleet, FRONT_DESK, PATIENT, lines=4, stays_s=25):
        yield


@contextlib.asynccontextmanager
async def a_provider_fails(day: Day) -> AsyncIterator[None]:
    day.providers.openai.fault, day.providers.deepgram.fault = Fault(status=500), Fault(drops_after_s=0.5)
    try:
        async with calling(day.fleet, BROKEN, lines=3):
            yield
    finally:
        day.providers.openai.fault = day.providers.deepgram.fault = Fault()


@contextlib.asynccontextmanager
async def a_slow_voice(day: Day) -> AsyncIterator[None]:
    before, day.providers.cartesia.latency_s = day.providers.cartesia.latency_s, SLOW_VOICE_S
    try:
        async with calling(day.fleet, FORGETFUL, lines=2):
            yield
    finally:
        day.providers.cartesia.latency_s = before


def stuttering_workers(day: Day) -> contextlib.AbstractAsyncContextManager[None]:
    return meanwhile(blink(day.workers(), 0.4, 0.4))


def a_slow_redis(day: Day) -> contextlib.AbstractAsyncContextManager[None]:
    return meanwhile(blink([day.fleet.children["redis"].pid], 0.25, 0.03))


@contextlib.asynccontextmanager
async def no_redis(day: Day) -> AsyncIterator[None]:
    day.fleet.kill("redis", signal.SIGSTOP)
    try:
        yield
    finally:
        day.fleet.kill("redis", signal.SIGCONT)
        async with asyncio.timeout(BACK_S):
            while not await _has_room(day.fleet):
                await asyncio.sleep(0.2)


async def _has_room(fleet: LocalFleet) -> bool:
    """Whether the fleet is itself again."""
    try:
        return (await fleet.api.fleet())["workers"] == fleet.workers
    except CliFault:
        return False


@contextlib.asynccontextmanager
async def a_slot_of_a_call_that_is_over(day: Day) -> AsyncIterator[None]:
    """What a bug would leave: Redis counts a call that nobody has."""
    over = [call for call in await day.fleet.api.calls(200) if call["state"] == "ended" and call["worker_id"]]
    slots = keys.slots(over[0]["worker_id"])
    async with Redis.from_url(day.fleet.redis_url) as redis:
        await redis.zadd(slots, {over[0]["call_id"]: round(time.time() * 1000) + 300_000})
        try:
            yield
        finally:
            await redis.zrem(slots, over[0]["call_id"])


@contextlib.asynccontextmanager
async def a_worker_is_killed(day: Day) -> AsyncIterator[None]:
    calls = [asyncio.create_task(call_once(day.fleet, FORGETFUL, listen(12))) for _ in range(2)]
    await asyncio.sleep(3)
    day.fleet.kill("worker-1")
    try:
        yield
        await asyncio.gather(*calls)
    finally:
        await day.fleet.start_process("worker-1")
        await day.fleet.wait_until_ready()


@contextlib.asynccontextmanager
async def a_drain(day: Day) -> AsyncIterator[None]:
    """No alert: a worker leaves in good order, and another one comes."""
    call = asyncio.create_task(call_once(day.fleet, FRONT_DESK, listen(10)))
    await asyncio.sleep(2)
    await day.fleet.api.drain(day.fleet.worker_id("worker-2"))
    await asyncio.sleep(8)
    yield
    await call
    await day.fleet.children["worker-2"].wait()
    await day.fleet.start_process("worker-2")
    await day.fleet.wait_until_ready()


@contextlib.asynccontextmanager
async def nothing(_: Day) -> AsyncIterator[None]:
    await asyncio.sleep(15)
    yield


ACTS = (
    Act("an ordinary quarter of a minute", (), nothing),
    Act("a certificate that nobody renewed", ("CertificateExpiring",), nothing),
    Act("more callers than there is room for", ("CapacityLow", "CallsRefused"), too_many_calls),
    Act("a provider that fails", ("ProviderErrors",), a_provider_fails),
    Act("a voice that is slow", ("FirstAudioSlow",), a_slow_voice),
    Act("workers on a machine that is too small", ("EventLoopLag", "FramesLate"), stuttering_workers),
    Act("a Redis that is slow", ("RedisSlow",), a_slow_redis),
    Act("a Redis that is away", ("RedisAway",), no_redis, 30),
    Act("a slot of a call that is over", ("CallsDrift",), a_slot_of_a_call_that_is_over),
    Act("a worker that is killed", ("ResumeFailed",), a_worker_is_killed),
    Act("a worker that is drained", (), a_drain),
)
# What cannot come about within minutes, or only by a fault of ours, or not for sure: tried by promtool alone.
ONLY_BY_PROMTOOL = ("NoCalls", "BargeInSlow", "DrainStuck", "MemoryPerCallGrowing", "WebhooksSlow")
