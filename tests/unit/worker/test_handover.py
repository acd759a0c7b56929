"""Calls are handed over to a worker that has room, by an order or at a drain's deadline; what cannot go is cut."""

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from gateway.routing import Route, decide
from shared.calls.record import CallRecord
from shared.calls.state import CallEvent, CallState
from shared.fleet.worker import Order, WorkerRecord, WorkerState
from shared.sfvopi.formats import AudioFormat
from shared.tokens import StreamToken

LEG = {"X-Call-UUID": "call-1", "X-Sfvopi-Path": "relayed"}
DIRECT = {"X-Call-UUID": "call-1"}


async def other_worker(fleet, capacity=1):
    await fleet.registry.heartbeat(WorkerRecord("other", "127.0.0.1:1", WorkerState.SERVING, capacity), [], 60_000)


async def talking(fleet, headers):
    carrier = await fleet.connect(await fleet.answer(), additional_headers=headers)
    await carrier.start()
    await fleet.scripted()
    return carrier


async def test_a_relayed_call_goes_to_a_slot_elsewhere_and_does_not_end(start_worker):
    fleet = await start_worker(drain_deadline_s=0.2)
    carrier = await talking(fleet, LEG)
    epoch = (await fleet.registry.get("call-1")).epoch
    await other_worker(fleet)
    draining = asyncio.create_task(fleet.app.drain())
    assert await carrier.closed() == 1012
    await asyncio.wait_for(draining, 10)
    assert len(fleet.app.sessions) == 0
    record = await fleet.registry.get("call-1")
    assert (record.state, record.worker_id, record.reason, record.epoch) == ("detached", "other", "", epoch)
    held = {view.record.worker_id: view.used for view in await fleet.registry.workers()}
    assert held["other"] == 1
    timeline = [entry.event for entry in await fleet.registry.timeline("call-1")]
    assert "handed_over" in timeline
    assert "ended" not in timeline
    await fleet.app.stop()
    assert [view.record.worker_id for view in await fleet.registry.workers()] == ["other"]
    assert (await fleet.registry.workers())[0].used == 1, "its slot did not go with us"


@pytest.mark.parametrize(
    ("headers", "capacity", "reconnects"),
    [(DIRECT, 1, "auto"), (DIRECT, 1, "no"), (LEG, 0, "yes")],
    ids=["a direct stream", "a carrier that never returns", "no room elsewhere"],
)
async def test_what_cannot_go_elsewhere_is_cut_when_the_worker_stops(start_worker, headers, capacity, reconnects):
    fleet = await start_worker(drain_deadline_s=0.2, carrier_reconnects=reconnects)
    if reconnects == "no":
        await fleet.registry.saw_reconnect()  # the operator knows better
    carrier = await talking(fleet, headers)
    await other_worker(fleet, capacity)
    await asyncio.wait_for(fleet.app.drain(), 10)
    assert len(fleet.app.sessions) == 1
    with capture_logs() as lines:
        await fleet.app.stop()
    assert await carrier.closed() == 1001
    record = await fleet.registry.get("call-1")
    assert (record.state, record.reason) == ("ended", "shutdown")
    assert [line["call_ids"] for line in lines if line["event"] == "calls cut off"] == [["call-1"]]


async def test_an_order_to_hand_over_moves_calls_at_once_and_the_rest_finishes(start_worker, until):
    fleet = await start_worker(drain_deadline_s=60)
    moving = await talking(fleet, LEG)
    staying = await fleet.call("call-2")
    await fleet.scripted()
    await other_worker(fleet, capacity=5)
    await fleet.registry.give_order(fleet.app.describe(), Order.HAND_OVER)
    await fleet.registry.nudge(fleet.app.worker_id, '{"order": "handover"}')
    await asyncio.wait_for(fleet.app.until_ordered(), 2)
    draining = asyncio.create_task(fleet.app.drain())
    assert await moving.closed(2) == 1012
    await until(lambda: fleet.app.sessions.call_ids == ["call-2"])
    assert not draining.done()
    (me,) = [view.record for view in await fleet.registry.workers() if view.record.worker_id == fleet.app.worker_id]
    assert me.state == "draining"
    await staying.hang_up()
    await asyncio.wait_for(draining, 5)
    assert (await fleet.registry.get("call-2")).reason == "stream_closed"


async def test_a_drain_that_turns_out_too_slow_can_be_made_a_hand_over(start_worker):
    fleet = await start_worker(drain_deadline_s=60)
    carrier = await talking(fleet, LEG)
    await other_worker(fleet)
    draining = asyncio.create_task(fleet.app.drain())
    await asyncio.sleep(0.1)
    assert len(fleet.app.sessions) == 1
    await fleet.registry.give_order(fleet.app.describe(), Order.HAND_OVER)
    assert await carrier.closed(3) == 1012
    await asyncio.wait_for(draining, 5)


async def test_what_finds_no_room_at_first_is_moved_when_there_is_some(start_worker):
    fleet = await start_worker(drain_deadline_s=60)
    carrier = await talking(fleet, LEG)
    await fleet.registry.give_order(fleet.app.describe(), Order.HAND_OVER)
    draining = asyncio.create_task(fleet.app.drain())
    await asyncio.wait_for(fleet.app.until_ordered(), 2)
    await asyncio.sleep(0.1)
    assert len(fleet.app.sessions) == 1
    await other_worker(fleet)
    assert await carrier.closed(4) == 1012
    await asyncio.wait_for(draining, 5)


async def test_a_direct_call_is_moved_once_the_carrier_was_seen_to_reconnect(start_worker, until):
    """Its stream is closed; when the carrier brings it again, it is routed to the worker that holds the slot."""
    fleet = await start_worker(drain_deadline_s=0.2)
    first = await talking(fleet, DIRECT)
    await other_worker(fleet, capacity=5)
    await first.hang_up()
    again = await fleet.connect(fleet.url(), additional_headers=DIRECT)  # what the fleet remembers
    await again.start()
    await until(lambda: fleet.app.sessions.all()[0].stream.is_attached)
    draining = asyncio.create_task(fleet.app.drain())
    assert await again.closed() == 1012
    await asyncio.wait_for(draining, 5)
    record, workers = await fleet.registry.get("call-1"), await fleet.registry.workers()
    assert (record.state, record.worker_id) == ("detached", "other")
    later = fleet.registry.now_ms() + 60_000
    token = StreamToken("call-1", fleet.app.worker_id, AudioFormat(), later, later)
    assert decide(token, record, workers, fleet.registry.now_ms()) == Route("other", "127.0.0.1:1")


async def test_a_call_that_is_another_workers_by_now_is_not_moved_from_here(start_worker):
    fleet = await start_worker()
    await talking(fleet, LEG)
    await other_worker(fleet, capacity=5)
    await fleet.registry.move("call-1", CallEvent.ATTACH, {"worker_id": "other"})
    await fleet.app.hand_over()
    record = await fleet.registry.get("call-1")
    assert (record.state, record.worker_id) == ("active", "other")


async def test_while_it_drains_it_says_how_long_that_will_take(start_worker, until):
    fleet = await start_worker(drain_deadline_s=60)
    past = CallRecord("", CallState.ENDED, bot="test:scripted", first_attached_at_ms=1_000, ended_at_ms=21_000)
    for n in range(3):
        await fleet.registry.restore(replace(past, call_id=f"past-{n}"))
    carrier = await talking(fleet, LEG)
    assert (await fleet.registry.workers())[0].record.eta_s is None
    draining = asyncio.create_task(fleet.app.drain())
    await until(lambda: 15 < fleet.count("sfvopi_drain_eta_seconds") <= 20)
    await until(lambda: fleet.registry._slots.worker(fleet.app.worker_id).eta_s in range(15, 21))
    await carrier.hang_up()
    await asyncio.wait_for(draining, 5)
