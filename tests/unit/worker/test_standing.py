"""A worker that is loaded offers less, at once; and it counts its calls in three places."""

import asyncio
import time

import pytest

PATIENT = {"heartbeat_s": 30, "lease_s": 90}  # whatever the fleet hears sooner, no heartbeat that was due has told


async def offered(fleet):
    (view,) = await fleet.registry.workers()
    return view.record.offered if view.record.state == "serving" else None


def gauges(fleet):
    sources = ("registry", "memory", "sockets")
    return [fleet.count("sfvopi_calls_by_source", source=source) for source in sources]


async def heard(fleet, what, seconds=2.0):
    async with asyncio.timeout(seconds):
        while await offered(fleet) != what:
            await asyncio.sleep(0.005)


async def test_a_loop_that_stands_still_takes_the_offer_back_without_waiting_for_a_heartbeat(start_worker):
    fleet = await start_worker(lag_limit_ms=100, calls_per_worker=4, **PATIENT)
    await heard(fleet, 4)
    fleet.app._standing.saw_lag(1.5)
    await heard(fleet, 0)
    assert await fleet.registry.reserve("call-1", 60_000) is None


async def test_a_loop_that_really_lags_is_noticed_and_that_it_is_over_too(start_worker):
    fleet = await start_worker(lag_limit_ms=40, calls_per_worker=4, **PATIENT)
    await heard(fleet, 4)

    async def block():
        while True:
            time.sleep(0.1)
            await asyncio.sleep(0)

    blocking = asyncio.create_task(block())
    try:
        await heard(fleet, 0, 10)
    finally:
        blocking.cancel()
    await heard(fleet, 4, 20)


async def test_a_loaded_worker_takes_a_call_that_it_was_promised_and_refuses_another(start_worker, until):
    fleet = await start_worker(lag_limit_ms=100, calls_per_worker=4, **PATIENT)
    await heard(fleet, 4)
    promised = await fleet.answer("call-1")
    fleet.app._standing.saw_lag(1.5)
    await heard(fleet, 0)
    carrier = await fleet.connect(promised, "call-1")
    await carrier.start()
    await until(lambda: len(fleet.app.sessions) == 1)
    refused = await fleet.refusal(await fleet.answer("call-2"))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")


async def test_with_the_registry_away_a_loaded_worker_has_no_room_for_whom_nobody_reserved(start_worker):
    fleet = await start_worker(lag_limit_ms=100, calls_per_worker=4)
    url = fleet.url("call-1")
    fleet.registry.is_away = True
    fleet.app._standing.saw_lag(1.5)
    assert (await fleet.refusal(url)).status_code == 503
    fleet.registry.is_away = False


async def test_memory_that_is_nearly_gone_stops_new_calls(start_worker):
    fleet = await start_worker(memory_limit_mb=1, calls_per_worker=4)
    await heard(fleet, 0)
    assert (fleet.count("sfvopi_offered_calls"), fleet.count("sfvopi_capacity_calls")) == (0, 4)


@pytest.fixture
async def quick(start_worker):
    return await start_worker(heartbeat_s=0.05, lease_s=0.3, reconnect_window_s=0.2)


async def test_a_call_is_counted_in_three_places_and_they_agree(quick, until):
    carrier = await quick.call()
    await quick.scripted()
    await until(lambda: gauges(quick) == [1, 1, 1])
    await asyncio.sleep(0.6)
    assert quick.count("sfvopi_calls_drift") == 0
    await carrier.hang_up()
    await quick.ended()
    await until(lambda: gauges(quick) == [0, 0, 0])
    assert quick.count("sfvopi_calls_drift") == 0


async def test_a_reservation_that_waits_for_its_stream_is_no_drift(quick, until):
    await quick.answer()
    await asyncio.sleep(0.7)
    assert gauges(quick) == [0, 0, 0]
    assert quick.count("sfvopi_calls_drift") == 0


async def test_a_slot_that_is_held_elsewhere_while_the_call_lives_here_is_drift_and_the_fleet_hears_of_it(quick, until):
    await quick.call()
    await quick.scripted()
    other = quick.app.describe()
    await quick.registry.heartbeat(type(other)("other", "127.0.0.1:1", other.state, 5), ["x"], 60_000)
    await quick.registry.reserve("call-1", 60_000, {quick.app.worker_id})
    await until(lambda: quick.count("sfvopi_calls_drift") == 1)
    await until(lambda: quick.registry._slots.worker(quick.app.worker_id).drift == 1)
    await quick.registry.release("call-1")
    await until(lambda: quick.count("sfvopi_calls_drift") == 0)


async def test_a_stream_that_no_session_has_is_drift(quick, until):
    carrier = await quick.call()
    await quick.scripted()
    quick.app.sessions.all()[0].stream.socket = None  # forgotten, and still open
    await until(lambda: quick.count("sfvopi_calls_drift") == 1)
    await carrier.hang_up()
