"""However a call is lost, its slot is free soon: 15 s after a crash, 60 s after a lost hangup, at default settings."""

import asyncio

import pytest

from worker.session import LOOK_S, SILENT_GRACE_S

CRASH_S, LOST_HANGUP_S = 15, 60
SCALE = 0.1  # of the default times, for those that are lived through here


@pytest.fixture
def defaults(monkeypatch, tmp_path):
    from shared.settings import WorkerSettings

    monkeypatch.chdir(tmp_path)
    return WorkerSettings.read(token_secrets="a secret for tests")


async def until_free(fleet, within_s):
    async with asyncio.timeout(within_s):
        while any(view.used for view in await fleet.registry.workers()):
            await asyncio.sleep(0.02)


def test_the_default_times_add_up_to_no_more(defaults):
    looking_s = LOOK_S  # the bot's own end is not waited for
    assert defaults.lease_s <= CRASH_S, "the worker's crash"
    assert defaults.reconnect_window_s + looking_s <= CRASH_S, "the gateway's: its stream is closed"
    silent_s = defaults.media_timeout_s + SILENT_GRACE_S
    assert silent_s + defaults.reconnect_window_s + looking_s <= LOST_HANGUP_S, "a stream that nobody closed"
    assert defaults.attach_by_s <= LOST_HANGUP_S, "a stream that never came"


async def start(start_worker, defaults):
    names = ("lease_s", "reconnect_window_s", "media_timeout_s")
    return await start_worker(heartbeat_s=0.1, **{name: getattr(defaults, name) * SCALE for name in names})


async def test_after_a_workers_crash(start_worker, defaults):
    fleet = await start(start_worker, defaults)
    await fleet.call()
    await fleet.scripted()
    await fleet.app._side.stop()  # it says nothing any more
    await until_free(fleet, CRASH_S * SCALE)


async def test_after_a_stream_that_closed_without_a_hangup(start_worker, defaults):
    fleet = await start(start_worker, defaults)
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.hang_up()
    await until_free(fleet, CRASH_S * SCALE + 1.0)  # what is not scaled
    assert (await fleet.ended()).reason == "stream_closed"


async def test_after_a_carrier_that_fell_silent(start_worker, defaults):
    fleet = await start(start_worker, defaults)
    carrier = await fleet.call()
    await fleet.scripted()
    await until_free(fleet, LOST_HANGUP_S * SCALE)
    assert (await fleet.ended()).reason == "stream_closed"
    assert await carrier.closed() == 1008
