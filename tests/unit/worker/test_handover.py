"""At a drain's deadline, relayed calls are handed over to a worker that has room; what cannot go there is cut."""

import asyncio

import pytest

from shared.fleet.worker import WorkerRecord, WorkerState

LEG = {"X-Call-UUID": "call-1", "X-Sfvopi-Path": "relayed"}


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
    assert (record.state, record.reason, record.epoch) == ("active", "", epoch)
    held = {view.record.worker_id: view.used for view in await fleet.registry.workers()}
    assert held["other"] == 1
    timeline = [entry.event for entry in await fleet.registry.timeline("call-1")]
    assert "handed_over" in timeline
    assert "ended" not in timeline
    await fleet.app.stop()
    assert [view.record.worker_id for view in await fleet.registry.workers()] == ["other"]
    assert (await fleet.registry.workers())[0].used == 1, "its slot did not go with us"


@pytest.mark.parametrize(
    ("headers", "capacity"), [({"X-Call-UUID": "call-1"}, 1), (LEG, 0)], ids=["a direct stream", "no room elsewhere"]
)
async def test_what_cannot_go_elsewhere_is_cut_when_the_worker_stops(start_worker, headers, capacity):
    fleet = await start_worker(drain_deadline_s=0.2)
    carrier = await talking(fleet, headers)
    await other_worker(fleet, capacity)
    await asyncio.wait_for(fleet.app.drain(), 10)
    assert len(fleet.app.sessions) == 1
    await fleet.app.stop()
    assert await carrier.closed() == 1001
    record = await fleet.registry.get("call-1")
    assert (record.state, record.reason) == ("ended", "shutdown")
