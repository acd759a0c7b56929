"""Every end ends: for one reason, within its deadline, with everything given back."""

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from shared.calls.outcome import Reason
from shared.calls.state import CallEvent
from shared.registry import RegistryAway
from shared.registry.endings import end_call


async def test_a_bots_goodbye_is_heard_to_its_end_before_the_stream_is_closed(fleet, until):
    carrier = await fleet.call()
    await fleet.scripted()
    began_at = time.monotonic()
    await carrier.press("3")
    assert await carrier.closed() == 1000
    assert carrier.heard_s == 1.0
    assert time.monotonic() - began_at > 1.0, "closed while the carrier was still playing"
    record = await fleet.ended()
    assert record.reason == Reason.BOT_ENDED
    assert fleet.count("sfvopi_calls_total", result="completed", reason="bot_ended") == 1


async def test_a_carrier_that_acknowledges_the_last_checkpoint_ends_the_call_at_once(fleet, until):
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.press("3")
    await until(lambda: carrier.events("checkpoint"))
    at = time.monotonic()
    await carrier.send({"event": "playedStream", "name": carrier.events("checkpoint")[-1]["name"]})
    assert await carrier.closed() == 1000
    assert time.monotonic() - at < 0.9
    assert not (await fleet.ended()).detail


async def test_a_hangup_that_is_nudged_ends_the_session_and_closes_the_stream(fleet, until):
    carrier = await fleet.call()
    await fleet.scripted()
    await end_call(fleet.registry, "call-1", Reason.CALLER_HUNG_UP)
    await fleet.registry.nudge(fleet.app.worker_id, '{"call_id": "call-1"}')
    assert await carrier.closed(1.0) == 1000
    record = await fleet.ended()
    assert record.reason == Reason.CALLER_HUNG_UP
    assert record.figures["session_s"] > 0
    assert fleet.count("sfvopi_calls_total", result="completed", reason="caller_hung_up") == 0, "others moved it"


async def test_a_hangup_whose_nudge_was_lost_costs_one_heartbeat(fleet):
    carrier = await fleet.call()
    await fleet.scripted()
    await end_call(fleet.registry, "call-1", Reason.CALLER_HUNG_UP)
    assert await carrier.closed(1.0) == 1000


async def test_an_operators_end_closes_the_stream_and_is_told_as_what_it_is(fleet):
    carrier = await fleet.call()
    await fleet.scripted()
    await end_call(fleet.registry, "call-1", Reason.OPERATOR)
    assert await carrier.closed(1.0) == 1000
    async with asyncio.timeout(5):
        while not (told := [data["reason"] for event, data in await fleet.timeline() if event == "ended"]):
            await asyncio.sleep(0.02)
    assert told == ["operator_ended"]


@pytest.mark.parametrize("reason", [Reason.WORKER_LOST, Reason.NEVER_ATTACHED])
async def test_a_live_call_that_was_taken_for_lost_goes_on_until_the_caller_hangs_up(fleet, until, reason):
    carrier = await fleet.call()
    await fleet.scripted()
    with capture_logs() as lines:
        await end_call(fleet.registry, "call-1", reason)
        await asyncio.sleep(0.7)  # three heartbeats, of which each reads the record
    assert len([line for line in lines if line["event"].startswith("taken for lost")]) == 1
    assert fleet.app.sessions.get("call-1").ending is None
    await fleet.registry.move("call-1", CallEvent.CARRIER_ENDED, {"carrier_duration_s": 7.0})
    assert await carrier.closed(1.0) == 1000
    await until(lambda: not len(fleet.app.sessions))
    assert (await fleet.registry.get("call-1")).reason == reason


async def test_a_stream_that_does_not_come_back_ends_the_call_after_the_window(fleet):
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.hang_up()
    began_at = time.monotonic()
    record = await fleet.ended()
    assert record.reason == Reason.STREAM_CLOSED
    assert 0.9 < time.monotonic() - began_at < 2.0
    events = [event for event, _ in await fleet.timeline()]
    assert events.index("detached") < events.index("ending") < events.index("ended")


async def test_no_window_ends_the_call_at_once(start_worker):
    fleet = await start_worker(reconnect_window_s=0)
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.hang_up()
    began_at = time.monotonic()
    await fleet.ended()
    assert time.monotonic() - began_at < 0.8


async def test_a_bot_that_handles_the_callers_leaving_is_told_once(fleet):
    carrier = await fleet.call(bot="test:handles")
    await fleet.app.sessions.all()[0].stream.watch.pipeline_started.wait()
    await carrier.hang_up()
    await fleet.ended()
    assert fleet.bots.disconnected == 1
    assert fleet.count("sfvopi_stuck_sessions_total", step="cancelled") == 0


async def test_a_start_that_never_comes_ends_the_call(fleet):
    carrier = await fleet.connect(await fleet.answer())
    assert await carrier.closed(2.0) == 1008
    assert (await fleet.ended()).reason == Reason.NO_START
    assert fleet.count("sfvopi_streams_total", result="no_start") == 1


async def test_a_call_in_which_nobody_speaks_is_ended(start_worker):
    fleet = await start_worker(idle_s=0.6)
    carrier = await fleet.call()
    carrier.talk()  # silence is sent all the time
    assert await carrier.closed() == 1000
    assert (await fleet.ended()).reason == Reason.IDLE


async def test_a_caller_who_speaks_is_not_idle(start_worker, LOUD):
    fleet = await start_worker(idle_s=0.6)
    carrier = await fleet.call()
    carrier.talk(LOUD)
    await asyncio.sleep(1.5)
    assert fleet.app.sessions.get("call-1").ending is None


async def test_the_longest_call_is_ended_with_what_the_bot_has_begun_to_say(start_worker):
    fleet = await start_worker(max_call_s=1.0, end_grace_s=3.0)
    carrier = await fleet.call()
    await fleet.scripted()
    await asyncio.sleep(0.6)
    await carrier.press("1")
    assert await carrier.closed() == 1000
    assert carrier.heard_s == 1.0
    assert (await fleet.ended()).reason == Reason.MAX_DURATION


async def test_a_goodbye_that_a_processor_swallows_ends_all_the_same(fleet):
    carrier = await fleet.call(bot="test:swallows")
    await fleet.scripted()
    await carrier.press("3")
    assert await carrier.closed(8.0) == 1000
    assert (await fleet.ended()).reason == Reason.STUCK
    assert fleet.count("sfvopi_stuck_sessions_total", step="cancelled") == 1
    assert fleet.count("sfvopi_stuck_sessions_total", step="abandoned") == 0


async def test_a_pipeline_that_swallows_our_end_is_forced(start_worker):
    fleet = await start_worker(max_call_s=0.5)
    carrier = await fleet.call(bot="test:swallows")
    assert await carrier.closed() == 1000
    assert (await fleet.ended()).reason == Reason.MAX_DURATION
    assert fleet.count("sfvopi_stuck_sessions_total", step="cancelled") == 1


async def test_a_bot_that_does_not_even_listen_to_cancellation_is_abandoned_and_counted(start_worker):
    fleet = await start_worker(cancel_grace_s=0.2)
    carrier = await fleet.call(bot="test:deaf")
    await asyncio.sleep(0.1)
    await carrier.hang_up()
    assert (await fleet.ended()).reason == Reason.STREAM_CLOSED
    assert fleet.count("sfvopi_stuck_sessions_total", step="abandoned") == 1


async def test_a_bot_that_raises_apologises(fleet):
    carrier = await fleet.call(bot="test:raises")
    assert await carrier.closed(8.0) == 1000
    assert 3.7 < carrier.heard_s < 3.9, "the whole apology"
    record = await fleet.ended()
    assert (record.reason, record.detail) == (Reason.BOT_ERROR, "RuntimeError")


@pytest.mark.parametrize("bot", ["test:raises", "test:returns", "test:nobody"])
async def test_a_caller_who_hangs_up_into_the_apology_was_failed_all_the_same(fleet, until, bot):
    """The hangup webhook was first: the call of a bot that had raised stood as completed."""
    carrier = await fleet.call(bot=bot)
    await until(lambda: carrier.events("playAudio"))
    ended = await end_call(fleet.registry, "call-1", Reason.CALLER_HUNG_UP)
    await carrier.hang_up()
    assert not ended.moved
    assert (await fleet.ended()).reason == Reason.BOT_ERROR


async def test_a_bot_that_builds_no_pipeline_apologises(fleet):
    carrier = await fleet.call(bot="test:returns")
    assert await carrier.closed(8.0) == 1000
    assert carrier.heard_s > 3.7
    assert (await fleet.ended()).reason == Reason.BOT_ERROR


async def test_an_unknown_bot_apologises(fleet):
    carrier = await fleet.call(bot="test:nobody")
    assert await carrier.closed(8.0) == 1000
    assert (await fleet.ended()).reason == Reason.BOT_ERROR


async def test_a_task_that_a_bot_leaves_behind_is_cancelled_and_counted(fleet):
    carrier = await fleet.call()
    scripted = await fleet.scripted()
    await carrier.press("7")
    await carrier.press("3")
    await carrier.closed()
    await fleet.ended()
    assert scripted.left.cancelled()
    assert fleet.count("sfvopi_session_tasks_left_total") == 1


async def test_a_second_signal_ends_live_calls(fleet):
    carrier = await fleet.call()
    await fleet.scripted()
    await fleet.app.stop()
    assert await carrier.closed() == 1001
    assert (await fleet.registry.get("call-1")).reason == Reason.SHUTDOWN


async def test_a_drain_refuses_new_calls_and_lets_old_ones_finish(fleet):
    carrier = await fleet.call()
    await fleet.scripted()
    url = await fleet.answer("call-2")
    draining = asyncio.create_task(fleet.app.drain())
    await asyncio.sleep(0.1)
    assert (await fleet.registry.workers())[0].record.state == "draining"
    refused = await fleet.refusal(url)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert not draining.done()
    await carrier.press("3")
    await carrier.closed()
    await asyncio.wait_for(draining, 3)


async def test_an_ending_that_the_registry_did_not_hear_is_told_when_it_is_back(fleet, until):
    carrier = await fleet.call()
    await fleet.scripted()
    fleet.registry.is_away = True
    await carrier.press("3")
    await carrier.closed()
    await until(lambda: not len(fleet.app.sessions))
    fleet.registry.is_away = False
    await until(lambda: fleet.count("sfvopi_calls_total", result="completed", reason="bot_ended"))
    assert await fleet.registry.outbox() == ["call-1"]


async def test_a_worker_that_lost_a_call_to_another_does_not_end_it(fleet, until):
    """A worker cut off from the registry once came back after its call's stream had been attached elsewhere, and told
    that the call had ended: the other worker, which held the caller, obeyed."""
    carrier = await fleet.call()
    await fleet.scripted()
    await fleet.registry.move("call-1", CallEvent.ATTACH, {"worker_id": "another"})
    await carrier.hang_up()
    await until(lambda: not len(fleet.app.sessions))
    record = await fleet.registry.get("call-1")
    assert (record.state, record.worker_id, record.reason) == ("active", "another", "")
    assert await fleet.registry.outbox() == []


async def test_a_call_that_the_registry_forgot_is_ended_all_the_same(fleet):
    carrier = await fleet.call()
    await fleet.scripted()
    fleet.registry._calls.clear()  # as a Redis does that starts empty
    await carrier.press("3")
    await carrier.closed()
    assert (await fleet.ended()).reason == Reason.BOT_ENDED
    assert fleet.count("sfvopi_calls_total", result="completed", reason="bot_ended") == 1


async def test_a_worker_that_leaves_first_tells_what_the_registry_has_not_heard(start_worker, until):
    """Its slots went with the worker, and with them the only trace by which the reaper could find these calls: they
    stayed "active" for ever."""
    fleet = await start_worker(heartbeat_s=30, lease_s=90)
    carrier = await fleet.call()
    await fleet.scripted()
    fleet.registry.is_away = True
    await carrier.press("3")
    await carrier.closed()
    await until(lambda: not len(fleet.app.sessions))
    fleet.registry.is_away = False
    await fleet.app.stop()
    assert (await fleet.registry.get("call-1")).reason == Reason.BOT_ENDED
    assert await fleet.registry.workers() == []


async def test_a_worker_that_cannot_tell_its_endings_leaves_its_slots_to_the_reaper(start_worker, until, monkeypatch):
    fleet = await start_worker(heartbeat_s=30, lease_s=90)
    carrier = await fleet.call()
    await fleet.scripted()

    async def away(*_, **__):
        raise RegistryAway

    monkeypatch.setattr(fleet.registry, "move", away)
    await carrier.press("3")
    await carrier.closed()
    await until(lambda: not len(fleet.app.sessions))
    await fleet.app.stop()
    assert [view.used for view in await fleet.registry.workers()] == [1]
