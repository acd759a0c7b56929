"""How a real worker process leaves under calls: what each signal does to them, and how soon it is gone."""

import asyncio
import signal

import pytest

from shared.fleet.worker import Order
from tests.worker_process import worker_process


@pytest.fixture
async def running(tmp_path, redis_url):
    async with worker_process(tmp_path, redis_url, {}) as worker:
        yield worker


async def test_it_drains_and_is_gone_two_seconds_after_its_last_call(running):
    await running.talk("c-1")
    await running.started("c-1")
    running.process.send_signal(signal.SIGTERM)
    await running.is_draining()
    assert await running.registry.reserve("c-2", 1_000) is None
    assert running.process.returncode is None
    await running.streams["c-1"].close()
    async with asyncio.timeout(10):
        while not (call := await running.registry.get("c-1")).is_over:
            await asyncio.sleep(0.01)
    _, took_s = await running.ends(10)
    assert call.reason == "stream_closed"
    assert took_s < 2
    assert await running.registry.workers() == []


async def test_a_second_term_hands_over_what_can_be_and_cuts_and_names_the_rest(running):
    await running.talk("c-relayed", **{"X-Sfvopi-Path": "relayed"})
    await running.started("c-relayed")
    await running.talk("c-direct")
    await running.started("c-direct")
    await running.other_worker()
    running.process.send_signal(signal.SIGTERM)
    await running.is_draining()
    running.process.send_signal(signal.SIGTERM)
    log, took_s = await running.ends(20)
    assert took_s < 10
    moved, cut = await running.registry.get("c-relayed"), await running.registry.get("c-direct")
    assert (moved.state, moved.worker_id, moved.reason) == ("detached", "other", "")
    assert (cut.state, cut.reason) == ("ended", "shutdown")
    assert [line["call_ids"] for line in log if line["event"] == "calls cut off"] == [["c-direct"]]
    assert running.process.returncode == 0


async def test_an_interrupt_ends_all_calls_now(running):
    await running.talk("c-relayed", **{"X-Sfvopi-Path": "relayed"})
    await running.started("c-relayed")
    await running.other_worker()
    running.process.send_signal(signal.SIGINT)
    log, _ = await running.ends(20)
    call = await running.registry.get("c-relayed")
    assert (call.state, call.reason) == ("ended", "shutdown")
    assert [line["call_ids"] for line in log if line["event"] == "calls cut off"] == [["c-relayed"]]


async def test_an_order_to_hand_over_is_obeyed_without_a_signal(running):
    await running.talk("c-relayed", **{"X-Sfvopi-Path": "relayed"})
    await running.started("c-relayed")
    await running.other_worker()
    await running.registry.give_order(running.record, Order.HAND_OVER)
    _, took_s = await running.ends(20)
    assert took_s < 10
    moved = await running.registry.get("c-relayed")
    assert (moved.state, moved.worker_id) == ("detached", "other")
    assert [view.record.worker_id for view in await running.registry.workers()] == ["other"]
