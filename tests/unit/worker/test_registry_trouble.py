"""Streams that come while the registry is slow, away, or has lost their calls."""

import asyncio
import time

import pytest

from shared.calls.outcome import Reason
from shared.registry.endings import end_call


async def lose_everything(fleet):
    """Redis was restarted empty."""
    await asyncio.sleep(0.005)  # what was answered was so before this
    fleet.registry._calls.clear()
    fleet.registry._slots.__init__()


async def heartbeat(fleet):
    async with asyncio.timeout(3):
        while not await fleet.registry.since_ms():
            await asyncio.sleep(0.01)


async def test_the_bot_is_the_one_that_the_token_names_when_nobody_can_be_asked(fleet, until):
    """A call to any number once got the default number's bot while Redis was away."""
    heard = []

    async def bot(arguments):
        heard.append(arguments.call_data.call_id)

    fleet.bots.bots["test:named"] = bot
    fleet.registry.is_away = True
    await (await fleet.connect(fleet.url(bot="test:named", is_local=True))).start()
    await until(lambda: heard)
    fleet.registry.is_away = False


async def test_a_caller_whose_reservation_was_lost_is_taken_by_a_worker_that_has_room(fleet, until):
    await fleet.answer()
    url = fleet.url(bot="test:scripted")
    await lose_everything(fleet)
    await heartbeat(fleet)
    await (await fleet.connect(url)).start()
    await fleet.scripted()
    record = await fleet.registry.get("call-1")
    assert (record.state, record.bot, record.worker_id) == ("active", "test:scripted", fleet.app.worker_id)

    async def slots():
        return [view.used for view in await fleet.registry.workers()]

    async with asyncio.timeout(3):
        while await slots() != [1]:
            await asyncio.sleep(0.02)


async def test_it_is_refused_by_one_that_has_none_and_leaves_no_record(start_worker, until):
    fleet = await start_worker(calls_per_worker=1)
    await fleet.answer()
    url = fleet.url()
    await fleet.registry.release("call-1")  # so that there is room for
    await fleet.call("another")
    await lose_everything(fleet)
    assert (await fleet.refusal(url)).status_code == 503
    assert await fleet.registry.get("call-1") is None


async def test_a_live_call_whose_worker_died_with_the_registry_may_come_back_for_a_while(start_worker):
    fleet = await start_worker(reconnect_window_s=1.0, lease_s=1.0)
    url = fleet.url("old", attach_ms=-1_000, bot="test:scripted")
    await lose_everything(fleet)
    await heartbeat(fleet)
    await fleet.connect(url, "old")
    assert fleet.count("sfvopi_streams_total", result="attached") == 1
    await asyncio.sleep(2.1)
    assert (await fleet.refusal(fleet.url("older", attach_ms=-3_000))).status_code == 404


@pytest.mark.parametrize("is_away", [False, True])
async def test_a_call_that_ended_here_is_not_taken_again_whatever_the_registry_has_forgotten(fleet, until, is_away):
    url = await fleet.answer()
    await (await fleet.connect(url)).start()
    await fleet.scripted()
    await end_call(fleet.registry, "call-1", Reason.CALLER_HUNG_UP)
    await until(lambda: not len(fleet.app.sessions))
    await lose_everything(fleet)
    fleet.registry.is_away = is_away
    assert (await fleet.refusal(url)).status_code in (403, 404)
    assert not len(fleet.app.sessions)
    fleet.registry.is_away = False


@pytest.mark.parametrize("answer_s", [0.29, 30])
async def test_a_slow_registry_keeps_no_stream_waiting_for_as_long_as_a_gateway_waits(fleet, monkeypatch, answer_s):
    """Five questions, each answered just in time, and a second stream's wait: the gateway took us for away."""
    url = await fleet.answer()

    def slow(method):
        async def asked(*args, **kwargs):
            await asyncio.sleep(answer_s)
            return await method(*args, **kwargs)

        return asked

    for name in ("get", "occupy", "move", "restore", "release", "since_ms"):
        monkeypatch.setattr(fleet.registry, name, slow(getattr(fleet.registry, name)))
    began = time.monotonic()
    await fleet.connect(url)
    assert time.monotonic() - began < 1.5
    assert "call-1" in fleet.app.sessions
