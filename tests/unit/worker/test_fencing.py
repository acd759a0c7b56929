"""Whose call is it? Attachments that the registry missed, that came after ours, and a process that slept."""

import asyncio
import time

import pytest

from shared.calls.record import CallRecord
from shared.calls.state import CallEvent, CallState
from worker.fencing import Claim, SleepGuard, claim_on


def record(worker_id: str, epoch: int) -> CallRecord:
    return CallRecord("c", CallState.ACTIVE, worker_id=worker_id, epoch=epoch)


@pytest.mark.parametrize(
    ("at", "record_epoch", "epoch", "attached_at_ms", "is_so"),
    [
        ("me", 500, 500, 500, Claim.OURS),
        ("me", 0, 0, 500, Claim.UNTOLD),  # attached while the registry was away
        ("me", 700, 0, 500, Claim.UNTOLD),  # it was told, and its answer was lost
        ("other", 400, 0, 500, Claim.UNTOLD),  # the worker before us
        ("other", 600, 0, 500, Claim.SUPERSEDED),
        ("other", 600, 500, 500, Claim.SUPERSEDED),
        ("other", 400, 500, 500, Claim.UNTOLD),  # the registry lost what came last: a replica took over
        ("other", 0, 500, 500, Claim.UNTOLD),
    ],
)
def test_who_attached_last_has_the_call(
    at: str, record_epoch: int, epoch: int, attached_at_ms: int, is_so: Claim
) -> None:
    assert claim_on(record(at, record_epoch), "me", epoch, attached_at_ms) is is_so


async def test_only_who_slept_past_its_lease_waits_with_what_it_says() -> None:
    now = [100.0, 1_700_000_000.0]
    guard = SleepGuard(5, (lambda: now[0], lambda: now[1]))
    now[0] += 4.9
    async with asyncio.timeout(1):
        await guard.may_write()
    assert not guard.slept.is_set()
    now[1] += 6  # a machine that was paused: only the wall clock went on
    waiting = asyncio.create_task(guard.may_write())
    await guard.slept.wait()
    assert not waiting.done()
    guard.go_on()
    async with asyncio.timeout(1):
        await waiting


# -- a worker


async def attach_elsewhere(fleet, call_id="call-1"):
    """As another worker does. Without a moment's pause for ours."""
    await asyncio.sleep(0.002)  # an epoch is a time in ms
    moved = await fleet.registry.move(call_id, CallEvent.ATTACH, {"worker_id": "another"})
    assert moved.moved
    return moved.record.epoch


async def until_ours(fleet, call_id="call-1"):
    async with asyncio.timeout(5):
        while True:
            record, session = await fleet.registry.get(call_id), fleet.app.sessions.get(call_id)
            if record and record.state == "active" and record.epoch == session.fence:
                return record
            await asyncio.sleep(0.02)


async def test_an_attachment_that_the_registry_missed_is_told_when_it_is_back(fleet):
    """It stayed "reserved" in its record: a hangup was then written down as a call that never attached."""
    url = await fleet.answer()
    fleet.registry.is_away = True
    await (await fleet.connect(url)).start()
    await fleet.scripted()
    assert fleet.app.sessions.get("call-1").fence is None
    fleet.registry.is_away = False
    record = await until_ours(fleet)
    assert (record.worker_id, record.attachments) == (fleet.app.worker_id, 1)
    assert [view.used for view in await fleet.registry.workers()] == [1]


async def test_a_call_that_was_placed_without_the_registry_gets_its_record_from_worker_and_gateway(fleet):
    fleet.registry.is_away = True
    await (await fleet.connect(fleet.url(is_local=True, bot="test:scripted"))).start()
    fleet.registry.is_away = False
    record = await until_ours(fleet)
    assert record.bot == "test:scripted"
    age_ms = fleet.registry.now_ms() - record.first_attached_at_ms
    assert age_ms < 10_000, "the next session counts the call's age from here, and must not find it too old"


async def test_a_call_that_was_attached_elsewhere_ends_here_without_a_word(fleet, until):
    first = await fleet.call()
    await fleet.scripted()
    epoch = await attach_elsewhere(fleet)
    await until(lambda: fleet.app.sessions.get("call-1") is None)
    assert await first.closed() == 1012
    record = await fleet.registry.get("call-1")
    assert (record.state, record.worker_id, record.epoch, record.reason) == ("active", "another", epoch, "")
    assert await fleet.registry.outbox() == []
    assert "superseded" in [event for event, _ in await fleet.timeline()]


def say_on(fleet):
    """How much of the bot's speech has been sent."""
    return fleet.app.sessions.get("call-1").stream.socket.sent["playAudio"]


async def speaking(fleet, until):
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.press("8")
    await until(lambda: say_on(fleet) > 5)
    return carrier


async def test_a_worker_that_slept_past_its_lease_says_nothing_in_a_call_that_is_anothers_by_now(fleet, until):
    await speaking(fleet, until)
    socket, said = fleet.app.sessions.get("call-1").stream.socket, say_on(fleet)
    await fleet.registry.move("call-1", CallEvent.ATTACH, {"worker_id": "another"})
    time.sleep(1.5)
    await until(lambda: fleet.app.sessions.get("call-1") is None)
    assert socket.sent["playAudio"] == said
    assert (await fleet.registry.get("call-1")).worker_id == "another"


@pytest.mark.parametrize("is_away", [False, True])
async def test_a_worker_that_slept_goes_on_with_a_call_that_is_still_its_own(fleet, until, is_away):
    await speaking(fleet, until)
    said = say_on(fleet)
    fleet.registry.is_away = is_away
    time.sleep(1.5)
    await until(lambda: say_on(fleet) > said)
    assert fleet.app.sessions.get("call-1").ending is None
    fleet.registry.is_away = False
