"""Bots that kill workers, as every registry must remember them.

Once a deploy with a fault in the bot's native code killed a worker with each of its calls: each of them was ended after
two deaths, and the next one came.
"""

from typing import Any

import pytest
from redis.asyncio import Redis

from shared.fleet.quarantine import MOST_CALLS, WITHIN_MS
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.registry import MemoryRegistry, RedisRegistry, Registry, RegistryAway, keys
from tests.conftest import Clock, empty
from tests.redis_server import RedisServer

BOT, BUILD = "my_bots.sales:bot", "a1b2"


async def convict(registry: Registry, *calls: str, bot: str = BOT, build: str = BUILD) -> bool:
    """Whether the build is quarantined after the last of them."""
    stands = None
    for call_id in calls:
        stands = await registry.convict(call_id, bot, build)
    return stands is not None


async def bots(registry: Registry) -> list[str]:
    return [quarantine.bot for quarantine in await registry.quarantined()]


async def test_three_different_calls_quarantine_their_bot(registry: Registry, clock: Clock) -> None:
    assert not await convict(registry, "c1", "c2")
    assert await bots(registry) == []
    began_ms = clock()
    assert await convict(registry, "c3")
    clock.forward(1_000)
    (quarantine,) = await registry.quarantined()
    assert (quarantine.bot, quarantine.at_ms) == (BOT, began_ms)
    assert (quarantine.builds, quarantine.calls) == ((BUILD,), ("c1", "c2", "c3"))


async def test_a_call_counts_once_however_often_it_is_convicted(registry: Registry) -> None:
    assert not await convict(registry, *["c1", "c2"] * 3)
    assert await convict(registry, "c3", "c3")
    (quarantine,) = await registry.quarantined()
    assert quarantine.calls == ("c1", "c2", "c3")


async def test_convictions_of_long_ago_do_not_count(registry: Registry, clock: Clock) -> None:
    await convict(registry, "c1")
    clock.forward(WITHIN_MS // 2)
    await convict(registry, "c2")
    clock.forward(WITHIN_MS // 2)
    assert not await convict(registry, "c3"), "the first is ten minutes old"
    clock.forward(WITHIN_MS // 2 - 1)
    assert await convict(registry, "c4")


async def test_every_bot_has_its_own_count(registry: Registry) -> None:
    assert not await convict(registry, "c1", "c2")
    assert not await convict(registry, "c3", bot=BOT + "2")
    assert not await convict(registry, "c4", bot=BOT[:-1])
    assert await convict(registry, "c5")
    assert await bots(registry) == [BOT]


async def test_a_new_build_starts_with_a_clean_slate_and_an_old_one_stays_barred(registry: Registry) -> None:
    await convict(registry, "c1", "c2", "c3", build="old")
    assert not await convict(registry, "c4", "c5", build="new")
    assert await convict(registry, "c6", build="new")
    (quarantine,) = await registry.quarantined()
    assert quarantine.builds == ("old", "new")
    assert await convict(registry, "c7", build="old"), "a live call that was convicted later"


async def test_a_quarantine_does_not_end_by_itself(registry: Registry, clock: Clock) -> None:
    await convict(registry, "c1", "c2", "c3")
    clock.forward(10 * WITHIN_MS)
    assert await bots(registry) == [BOT]
    assert await convict(registry, "c9")


async def test_a_release_ends_it_and_forgets_what_led_to_it(registry: Registry) -> None:
    await convict(registry, "c1", "c2", "c3")
    await convict(registry, "c1", "c2", "c3", bot="other:bot")
    assert await registry.release_bot(BOT)
    assert await bots(registry) == ["other:bot"]
    assert not await convict(registry, "c4", "c5"), "two since then"
    assert await convict(registry, "c6")


async def test_there_is_nothing_to_release_of_a_bot_that_is_not_quarantined(registry: Registry) -> None:
    await convict(registry, "c1", "c2")
    assert not await registry.release_bot(BOT)
    assert not await registry.release_bot("nobody:knows")
    assert not await convict(registry, "c3"), "the two before the release are forgotten all the same"


async def test_a_flood_of_convicted_calls_is_not_kept_for_ever(registry: Registry) -> None:
    await convict(registry, *(f"c{n:03}" for n in range(3 * MOST_CALLS)))
    (quarantine,) = await registry.quarantined()
    assert quarantine.calls == tuple(f"c{n:03}" for n in range(2 * MOST_CALLS, 3 * MOST_CALLS))


async def test_names_that_a_script_could_mistake_are_told_apart(registry: Registry) -> None:
    assert not await convict(registry, "a c1", "b c1", build="")
    assert not await convict(registry, "c1", build="a")
    assert await convict(registry, "c1", build="")
    (quarantine,) = await registry.quarantined()
    assert quarantine.calls == ("a c1", "b c1", "c1")


async def test_a_worker_says_which_builds_it_has(registry: Registry) -> None:
    told = WorkerRecord("w", "127.0.0.1:1", WorkerState.SERVING, 1, builds={BOT: BUILD, "other:bot": "77"})
    await registry.heartbeat(told, [], 5_000)
    (view,) = await registry.workers()
    assert view.record == told


async def test_redis_own_time_is_asked_when_nobody_simulates_one(redis_server: RedisServer) -> None:
    await empty(redis_server.url)
    registry = RedisRegistry.connect(redis_server.url, command_timeout_s=5)
    try:
        await registry.sync_clock()
        assert await convict(registry, "c1", "c2", "c3")
        (quarantine,) = await registry.quarantined()
        assert abs(quarantine.at_ms - registry.now_ms()) < 5_000
    finally:
        await registry.close()


async def test_an_absent_registry_is_said() -> None:
    registry = MemoryRegistry()
    registry.is_away = True
    for asked in (registry.convict("c", BOT, ""), registry.quarantined(), registry.release_bot(BOT)):
        with pytest.raises(RegistryAway):
            await asked


# -- where calls of such a bot are placed

GOOD = "my_bots.front_desk:bot"


async def serve(registry: Registry, *workers: str, builds: dict[str, str] | None = None, **how: Any) -> None:
    builds = {BOT: BUILD, GOOD: "1"} if builds is None else builds
    for worker_id in workers:
        record = WorkerRecord(worker_id, "127.0.0.1:1", WorkerState.SERVING, 2, builds=builds, **how)
        await registry.heartbeat(record, [], 5_000)


async def place(registry: Registry, call_id: str, bot: str = BOT, **how: Any) -> str | None:
    held = await registry.reserve(call_id, 60_000, bot=bot, **how)
    return held.worker_id if held else None


async def test_new_calls_of_a_quarantined_bot_are_not_placed_and_all_others_are(registry: Registry) -> None:
    await serve(registry, "a", "b")
    await convict(registry, "c1", "c2", "c3")
    assert await place(registry, "n1") is None
    assert await place(registry, "n2", GOOD) == "a"
    assert await place(registry, "n3", "") == "b", "whose bot nobody knows"
    assert await place(registry, "n4", "lazily:imported") == "a"


async def test_calls_that_live_go_on_and_so_do_reservations(registry: Registry) -> None:
    await serve(registry, "a", "b")
    assert await place(registry, "r") == "a"
    await convict(registry, "c1", "c2", "c3")
    assert await place(registry, "r") == "a", "its stream is on its way"
    assert await place(registry, "live", is_live=True) == "b"


async def test_workers_with_another_build_take_its_calls(registry: Registry) -> None:
    await serve(registry, "a", "b")
    await convict(registry, "c1", "c2", "c3")
    await serve(registry, "b", builds={BOT: "new", GOOD: "1"})
    assert [await place(registry, f"n{n}") for n in range(3)] == ["b", "b", None]


async def test_a_release_lets_its_calls_in_at_once(registry: Registry) -> None:
    await serve(registry, "a")
    await convict(registry, "c1", "c2", "c3")
    assert await place(registry, "n1") is None
    await registry.release_bot(BOT)
    assert await place(registry, "n1") == "a"


async def test_a_fleet_with_one_bot_keeps_its_first_worker_for_it(registry: Registry) -> None:
    await serve(registry, "c", "b", "a", builds={BOT: BUILD})
    await serve(registry, "a", builds={BOT: BUILD}, offers=0)
    await convict(registry, "c1", "c2", "c3")
    assert await place(registry, "n1") is None, "the first that serves is loaded: no other is risked"
    await serve(registry, "a", builds={BOT: BUILD})
    assert [await place(registry, f"n{n}") for n in range(3)] == ["a", "a", None]
    assert await place(registry, "n9", avoid={"a"}) is None


async def test_a_bot_that_no_worker_can_run_is_nothing_else_to_run(registry: Registry) -> None:
    await serve(registry, "a", "b", builds={BOT: BUILD, "broken:bot": "1"}, bots=(BOT,))
    await convict(registry, "c1", "c2", "c3")
    assert await place(registry, "n1") == "a"


async def test_those_who_wait_for_a_quarantined_bot_keep_nobody_waiting(registry: Registry) -> None:
    await serve(registry, "a")
    for n in range(3):
        await registry.join_line(f"w{n}", n, 60_000, bot=BOT)
    assert await place(registry, "n1", GOOD, in_turn=True) is None, "two slots, and three are before it"
    await convict(registry, "c1", "c2", "c3")
    assert await place(registry, "n1", GOOD, in_turn=True) == "a"


async def test_a_quarantine_that_cannot_be_read_bars_nobody(redis_url: str) -> None:
    await empty(redis_url)
    registry = RedisRegistry.connect(redis_url, command_timeout_s=5)
    client = Redis.from_url(redis_url)
    try:
        await serve(registry, "a")
        for written in ("", "[]", '{"builds": 7}', '{"at_ms": 1, "builds": {}}'):
            await client.hset(keys.QUARANTINE, BOT, written)  # type: ignore[misc]
            assert [(q.bot, q.builds) for q in await registry.quarantined()] == [(BOT, ())]
            assert await place(registry, f"n{len(written)}") == "a"
            await registry.release(f"n{len(written)}")
    finally:
        await client.aclose()
        await registry.close()
