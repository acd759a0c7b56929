"""What only the Redis registry has: addresses, times to live, timeouts, another version's records."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from shared.calls.outcome import Reason
from shared.calls.state import CallEvent, CallState
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.registry import BadAddress, RedisRegistry, RegistryAway, TimelineEntry, keys, open_registry
from shared.registry.address import parse_address
from shared.registry.contract import Exposed, wall_clock_ms
from shared.registry.endings import end_call
from tests.conftest import Clock, empty
from tests.redis_server import RedisServer, free_port

WORKER = WorkerRecord("w", "127.0.0.1:1", WorkerState.SERVING, 5)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    await empty(redis_url)
    client = Redis.from_url(redis_url, decode_responses=True)
    yield client
    await client.aclose()


@pytest.fixture
async def fleet(redis_url: str, redis: Redis, clock: Clock) -> AsyncIterator[RedisRegistry]:
    registry = RedisRegistry.connect(redis_url, clock=clock, command_timeout_s=5, connect_timeout_s=5)
    yield registry
    await registry.close()


async def live_a_life(registry: RedisRegistry, call_id: str = "c") -> None:
    """One of everything that can be written."""
    await registry.heartbeat(WORKER, [], 5_000)
    await registry.gateway_heartbeat("g", 5_000)
    await registry.expose(Exposed("gateway", "g", "127.0.0.1:9000"), 5_000)
    await registry.reserve(call_id, 60_000)
    await registry.reserve("other", 60_000)
    await registry.move(call_id, CallEvent.RING, {})
    await registry.move(call_id, CallEvent.ANSWER, {"worker_id": "w"})
    await registry.occupy(call_id, "w", 5_000)
    attached = await registry.move(call_id, CallEvent.ATTACH, {})
    assert attached.record
    await registry.save_checkpoint(call_id, "{}", attached.record.epoch)
    await registry.note(call_id, [TimelineEntry(1, "worker:w", "attached", {})])
    await registry.heartbeat(WORKER, [call_id], 5_000)
    await registry.patch(call_id, {"figures": {"turns": 1}})
    await registry.nudge("w", "{}")
    await end_call(registry, call_id, Reason.CALLER_HUNG_UP)


async def test_every_key_has_a_time_to_live(fleet: RedisRegistry, redis: Redis) -> None:
    await live_a_life(fleet)
    names = [name async for name in redis.scan_iter()]
    assert {keys.OUTBOX, keys.CALLS, keys.HOLDERS, keys.record("c"), keys.timeline("c"), keys.noted("c")} < set(names)
    assert {keys.GATEWAYS, keys.SINCE} < set(names)
    for name in names:
        assert await redis.pttl(name) > 3600 * 1000, name


async def test_keys_have_the_tag_of_the_fleet_or_of_their_call(fleet: RedisRegistry, redis: Redis) -> None:
    await live_a_life(fleet)
    async for name in redis.scan_iter():
        assert "{fleet}" in name or "{c}" in name


async def test_what_another_version_wrote_is_read_as_far_as_it_is_understood(
    fleet: RedisRegistry, redis: Redis
) -> None:
    await redis.hset(
        keys.record("c"),
        mapping={"state": "active", "schema": "7", "mood": "sunny", "sample_rate": "fast", "bot": "b"},
    )
    record = await fleet.get("c")
    assert record is not None
    assert (record.state, record.schema, record.bot, record.sample_rate) == (CallState.ACTIVE, 7, "b", 8000)
    await fleet.patch("c", {"detail": "patched"})
    assert (await redis.hgetall(keys.record("c")))["mood"] == "sunny"

    await redis.hset(keys.record("d"), mapping={"state": "on_hold"})
    moved = await fleet.move("d", CallEvent.ANSWER, {"detail": "changed"})
    assert (moved.moved, moved.before) == (False, CallState.NONE)
    assert await redis.hgetall(keys.record("d")) == {"state": "on_hold"}

    await fleet.heartbeat(WORKER, [], 5_000)
    await redis.hset(keys.WORKERS, "w", '{"address": "127.0.0.1:1", "state": "dozing", "capacity": "?", "mood": 1}')
    (view,) = await fleet.workers()
    assert (view.record.state, view.record.capacity) == (WorkerState.DRAINING, 0)


async def test_nothing_connects_before_the_first_question() -> None:
    registry = open_registry(f"redis://127.0.0.1:{free_port()}/0")
    registry.now_ms()
    with pytest.raises(RegistryAway):
        await registry.get("c")
    await registry.close()


async def test_each_process_learns_its_offset_to_the_clock_of_redis(redis_url: str) -> None:
    registry = open_registry(redis_url, clock=lambda: time.time_ns() // 1_000_000 - 300_000)
    assert abs(await registry.sync_clock() - 300_000) < 1_000
    assert abs(registry.now_ms() - time.time() * 1000) < 1_000
    await registry.close()


async def test_a_slow_answer_does_not_unlearn_what_a_quick_one_taught(redis_url: str) -> None:
    """A worker busy with its start asked for the time, was answered late, and its timeline began before the webhook."""
    late_ms = iter([0, 400, 0, 0, 0, 400])
    registry = RedisRegistry.connect(redis_url, clock=lambda: wall_clock_ms() + next(late_ms))
    assert abs(await registry.sync_clock() + 200) < 100
    assert abs(await registry.sync_clock()) < 100
    assert abs(await registry.sync_clock()) < 100
    await registry.close()


async def test_a_unix_socket_is_an_address_too(redis_server: RedisServer, redis: Redis) -> None:
    registry = open_registry(redis_server.unix_url)
    await registry.heartbeat(WORKER, [], 5_000)
    assert await registry.reserve("c", 1_000) is not None
    await registry.close()


async def test_scripts_are_told_again_to_a_redis_that_lost_them(fleet: RedisRegistry, redis: Redis) -> None:
    await live_a_life(fleet)
    await redis.script_flush()
    await fleet.heartbeat(WORKER, [], 5_000)
    assert await fleet.reserve("new", 1_000) is not None


async def test_a_closed_registry_is_away(redis_url: str) -> None:
    registry = open_registry(redis_url)
    await registry.get("c")
    await registry.close()
    with pytest.raises(RegistryAway):
        await registry.get("c")


async def test_a_redis_that_does_not_answer_is_away_in_time_and_back_again(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    registry = RedisRegistry.connect(server.url)
    try:
        await registry.heartbeat(WORKER, [], 60_000)
        os.kill(server.pid, signal.SIGSTOP)
        asked = time.monotonic()
        with pytest.raises(RegistryAway):
            await registry.reserve("c", 60_000)
        assert time.monotonic() - asked < 1
        os.kill(server.pid, signal.SIGCONT)
        async with asyncio.timeout(5):
            await until_it_answers(registry)
        assert [view.record for view in await registry.workers()] == [WORKER]
    finally:
        server.stop()
        await registry.close()


async def test_a_redis_that_hangs_costs_many_callers_one_timeout_and_not_one_each(tmp_path: Path) -> None:
    """With 32 connections, 200 answers in a burst waited up to 1.3 s each for a Redis that hung."""
    server = RedisServer(tmp_path)
    server.start()
    registry = RedisRegistry.connect(server.url, max_connections=2)
    try:
        await registry.heartbeat(WORKER, [], 60_000)
        os.kill(server.pid, signal.SIGSTOP)
        asked = time.monotonic()
        answers = await asyncio.gather(*(registry.get(f"c{n}") for n in range(200)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {RegistryAway}
        assert time.monotonic() - asked < 0.9, "one timeout of 0.3 s, and the time to fail"
        os.kill(server.pid, signal.SIGCONT)
        async with asyncio.timeout(5):
            await until_it_answers(registry)
    finally:
        server.stop()
        await registry.close()


async def test_a_redis_that_was_restarted_empty_is_filled_by_heartbeats(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    registry = RedisRegistry.connect(server.url, command_timeout_s=2)
    try:
        await registry.heartbeat(WORKER, ["c", "d"], 60_000)
        server.stop()
        with pytest.raises(RegistryAway):
            await registry.heartbeat(WORKER, ["c", "d"], 60_000)
        server.start()
        await registry.heartbeat(WORKER, ["c", "d"], 60_000)
        assert [view.used for view in await registry.workers()] == [2]
    finally:
        server.stop()
        await registry.close()


async def test_a_listener_learns_that_redis_went_away(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    registry = RedisRegistry.connect(server.url)
    heard: list[str] = []

    async def listen() -> None:
        async for message in registry.nudges("w"):
            heard.append(message)

    try:
        listener = asyncio.create_task(listen())
        async with asyncio.timeout(5):
            while not heard:
                await registry.nudge("w", "now")
                await asyncio.sleep(0.01)
        server.stop()
        async with asyncio.timeout(5):
            with pytest.raises(RegistryAway):
                await listener
    finally:
        server.stop()
        await registry.close()


async def test_more_questions_than_connections_wait_their_turn(redis_url: str, redis: Redis) -> None:
    registry = RedisRegistry.connect(redis_url, max_connections=2, command_timeout_s=5, wait_s=20)
    await asyncio.gather(*(registry.get(f"c{n}") for n in range(100)))
    assert len(await redis.client_list()) <= 4
    await registry.close()


async def until_it_answers(registry: RedisRegistry) -> None:
    while True:
        try:
            await registry.get("c")
        except RegistryAway:
            await asyncio.sleep(0.01)
        else:
            return


def test_a_sentinel_address_names_sentinels_service_and_database() -> None:
    address = parse_address("redis+sentinel://u:p%40ss@10.0.0.1:26380,sentinel-2,[::1]:5/calls/3")
    assert address.sentinels == (("10.0.0.1", 26380), ("sentinel-2", 26379), ("::1", 5))
    assert (address.service, address.db, address.tls) == ("calls", 3, False)
    assert (address.username, address.password) == ("u", "p@ss")
    assert "p@ss" not in repr(address)
    assert "p%40ss" not in repr(address)


def test_sentinels_may_have_credentials_of_their_own_and_tls() -> None:
    address = parse_address("rediss+sentinel://s:1/calls?sentinel_username=a&sentinel_password=b")
    assert (address.sentinel_username, address.sentinel_password, address.tls, address.db) == ("a", "b", True, 0)


async def test_sentinels_that_are_away_are_a_registry_that_is_away() -> None:
    registry = open_registry(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{free_port()}/calls/0")
    with pytest.raises(RegistryAway):
        await registry.get("c")
    with pytest.raises(RegistryAway):
        async for _ in registry.nudges("w"):
            pass
    await registry.close()


@pytest.mark.parametrize(
    ("url", "scheme", "db"),
    [
        ("redis://127.0.0.1:6379/2", "redis", 2),
        ("redis://:secret@cache", "redis", 0),
        ("rediss://u:p@cache:6380/1", "rediss", 1),
        ("unix:///run/redis.sock?db=4", "unix", 4),
    ],
)
def test_plain_addresses_are_understood(url: str, scheme: str, db: int) -> None:
    address = parse_address(url)
    assert (address.scheme, address.db, address.sentinels) == (scheme, db, ())
    assert "secret" not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://secret@localhost",
        "redis://:secret@/0",
        "redis://:secret@host:port/0",
        "redis://:secret@host/zero",
        "redis://:secret/half@host:6379/0",
        "redis://:secret@[host:6379/0",
        "redis://:secret@host:6379/0?socket_timeout=secret",
        "unix://",
        "redis+sentinel://:secret@host:1",
        "redis+sentinel:///service",
        "redis+sentinel://:secret@host:one/service",
        "redis+sentinel://host:1/service/db",
        "redis+sentinel://host:1/service/0?quorum=2",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(BadAddress, match="REDIS_URL") as refused:
        open_registry(url)
    assert "secret" not in str(refused.value)


async def test_calls_are_listed_for_others_soon_those_too_that_come_while_some_are_being_listed(
    fleet: RedisRegistry, redis: Redis
) -> None:
    for number in range(40):
        await fleet.move(f"c{number}", CallEvent.ANSWER, {})
        await asyncio.sleep(0.002)
    async with asyncio.timeout(5):
        while await redis.zcard(keys.CALLS) < 40:  # nobody asks the registry itself, which would list what is left
            await asyncio.sleep(0.01)


async def test_what_is_written_down_at_once_is_written_by_a_redis_that_lost_its_scripts(
    fleet: RedisRegistry, redis: Redis
) -> None:
    await fleet.move("c", CallEvent.ANSWER, {})
    await redis.script_flush()
    entry = TimelineEntry(1, "gateway:g", "webhook", {})
    await fleet.write_down({"c": [entry], "d": [entry]}, {"c": {"answer_ms": 2.0}})
    assert await fleet.timeline("c") == await fleet.timeline("d") == [entry]
    record = await fleet.get("c")
    assert record is not None
    assert record.figures == {"answer_ms": 2.0}


async def test_a_socket_that_had_closed_before_we_wrote_is_redis_away_in_uvloops_words_too(redis_url: str) -> None:
    registry = RedisRegistry.connect(redis_url)

    async def write_to_a_closed_socket() -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    async def fail() -> None:
        raise RuntimeError("a fault of ours")

    try:
        with pytest.raises(RegistryAway):
            await registry._connection.ask(write_to_a_closed_socket)
        with pytest.raises(RuntimeError, match="ours"):
            await registry._connection.ask(fail)
    finally:
        await registry.close()


async def test_a_deadline_is_one_whatever_a_wait_below_is_cancelled_by(fleet: RedisRegistry) -> None:
    """Below Python 3.12 Pipecat puts in a `wait_for` with a cancellation of its own, which `asyncio.timeout` passes."""

    class Another(asyncio.CancelledError):
        pass

    async def question() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            raise Another from None

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await fleet._ask(question)
