"""Who may attach, and what happens to a call whose stream goes and comes."""

import asyncio
import time

import pytest
import websockets

from shared.calls.outcome import Reason
from shared.calls.state import CallEvent
from shared.registry import RegistryAway
from shared.registry.endings import end_call
from shared.sfvopi.formats import PCMA_8K
from shared.sfvopi.messages import MediaReceived
from shared.sfvopi.render import render_event
from worker.pipeline.services.current import current_settings


async def test_a_call_attaches_and_is_counted(fleet, until):
    carrier = await fleet.call()
    carrier.talk()
    await fleet.scripted()
    assert fleet.count("sfvopi_streams_total", result="attached") == 1
    assert fleet.count("sfvopi_attach_seconds_count") == 1
    record = await fleet.registry.get("call-1")
    assert (record.state, record.attachments) == ("active", 1)
    arguments = fleet.bots.arguments[0]
    assert arguments.call_data.stream_id == "S1"
    assert arguments.call_data.call_id == "call-1"
    assert arguments.call_data["carrier_call_id"] == "carrier-1"
    assert arguments.call_data.from_number == arguments.body["from"] == "+911234567890"
    await until_patched(fleet)


async def until_patched(fleet):
    async with asyncio.timeout(3):
        while (await fleet.registry.get("call-1")).stream_id != "S1":
            await asyncio.sleep(0.05)


async def test_a_bot_gets_the_settings_of_its_worker_and_does_not_read_them_again(fleet, until):
    """Each call once read the environment and .env anew, on the event loop, since a session's context began empty."""
    seen = []

    async def bot(_):
        seen.append(current_settings())

    fleet.bots.bots["test:asks"] = bot
    await fleet.call(bot="test:asks")
    await until(lambda: seen)
    assert seen[0] is fleet.app.settings


async def test_the_format_is_the_one_that_was_promised_with_the_streams_url(fleet):
    """An answer repeated at a gateway with other settings once changed the record's codec under a carrier that used
    the first URL: both sides spoke, and each heard noise."""
    await fleet.answer(codec="L16", sample_rate=16000)
    await fleet.connect(fleet.url())
    assert fleet.app.sessions.get("call-1").stream.format == PCMA_8K
    record = await fleet.registry.get("call-1")
    assert record.format == PCMA_8K


# -- refusals


@pytest.mark.parametrize("token", ["x", "x.y", "A" * 5000, "%00"])
async def test_a_token_that_is_none_costs_a_401(fleet, token):
    refused = await fleet.refusal(f"ws://{fleet.app.address}/ws/{token}")
    assert refused.status_code == 401
    assert fleet.count("sfvopi_streams_total", result="token") == 1


async def test_a_token_that_is_no_longer_good_costs_a_401(fleet):
    await fleet.answer()
    assert (await fleet.refusal(fleet.url(valid_ms=-1))).status_code == 401
    assert fleet.count("sfvopi_tokens_refused_total", fault="expired") == 1


async def test_a_token_that_expired_before_attaching_is_refused(fleet):
    await fleet.answer()
    too_long_ago_ms = fleet.registry.now_ms() - fleet.app.settings.attach_by_ms - 1
    await fleet.registry.patch("call-1", {"answered_at_ms": too_long_ago_ms})
    assert (await fleet.refusal(fleet.url(attach_ms=-1))).status_code == 403
    assert fleet.count("sfvopi_streams_total", result="not_attached_in_time") == 1


async def test_whose_turn_in_line_came_late_has_his_time_from_then_on(fleet, until):
    """He was placed, no worker took him, and he waited for longer than his token promises."""
    await fleet.answer()
    await fleet.registry.patch("call-1", {"answered_at_ms": fleet.registry.now_ms()})
    await (await fleet.connect(fleet.url(attach_ms=-1))).start()
    await until(lambda: fleet.app.sessions.get("call-1").stream.is_attached)


async def test_a_worker_that_is_not_yet_prepared_takes_no_stream(fleet):
    """One that was started again under its old name is where the streams of before are led to."""
    url = await fleet.answer()
    fleet.app.sessions.is_starting = True
    assert (await fleet.refusal(url)).status_code == 503
    assert fleet.count("sfvopi_streams_total", result="starting") == 1


async def test_a_call_that_nobody_knows_is_refused(fleet):
    assert (await fleet.refusal(fleet.url("another"))).status_code == 404
    assert fleet.count("sfvopi_streams_total", result="unknown_call") == 1


async def test_a_call_that_has_ended_is_refused(fleet):
    url = await fleet.answer()
    await end_call(fleet.registry, "call-1", Reason.CALLER_HUNG_UP)
    assert (await fleet.refusal(url)).status_code == 403
    assert fleet.count("sfvopi_streams_total", result="ended") == 1


async def test_a_full_worker_refuses_and_says_when_to_come_again(start_worker):
    fleet = await start_worker(calls_per_worker=1)
    await fleet.call()
    await fleet.answer("call-2")
    refused = await fleet.refusal(fleet.url("call-2"))
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    assert fleet.count("sfvopi_streams_total", result="full") == 1


async def test_a_call_that_is_being_wound_up_keeps_no_other_out(start_worker, until):
    """A hangup frees the slot at once, and the next answer takes it; its stream was then refused as "full" for as
    long as the old call's pipeline took to end."""
    fleet = await start_worker(calls_per_worker=1)
    await fleet.call(bot="test:deaf")
    await until(lambda: fleet.app.sessions.get("call-1")._bot)
    await end_call(fleet.registry, "call-1", Reason.CALLER_HUNG_UP)
    await fleet.registry.nudge(fleet.app.worker_id, '{"call_id": "call-1"}')
    await until(lambda: not fleet.app.sessions.live)
    await asyncio.sleep(0.3)  # a heartbeat that named the old call would take its slot again
    await fleet.call("call-2")
    assert len(fleet.app.afterwards), "the old bot must still be there for this to show anything"
    assert fleet.count("sfvopi_streams_total", result="full") == 0


async def test_a_registry_that_is_away_keeps_no_call_from_attaching(fleet):
    url = await fleet.answer()
    fleet.registry.is_away = True
    carrier = await fleet.connect(url)
    await carrier.start()
    await fleet.scripted()
    assert fleet.count("sfvopi_registry_errors_total") > 0
    fleet.registry.is_away = False


async def test_calls_that_come_at_once_while_the_registry_is_away_are_no_more_than_there_is_room_for(
    start_worker, monkeypatch
):
    """The room was looked at before the registry was asked: all that came while it was silent were let in."""
    fleet = await start_worker(calls_per_worker=2)
    urls = {call_id: await fleet.answer(call_id) for call_id in ("a", "b", "c", "d", "e")}

    async def silent(*_):
        await asyncio.sleep(0.2)
        raise RegistryAway("no answer")

    monkeypatch.setattr(fleet.registry, "occupy", silent)
    connects = (fleet.connect(url, call_id) for call_id, url in urls.items())
    came = await asyncio.gather(*connects, return_exceptions=True)
    refused = [each.response.status_code for each in came if isinstance(each, websockets.InvalidStatus)]
    assert refused == [503] * 3
    assert len(fleet.app.sessions) == 2
    assert fleet.count("sfvopi_streams_total", result="full") == 3


async def test_a_calls_second_stream_is_not_kept_out_by_its_first_that_is_on_its_way_in(start_worker, monkeypatch):
    fleet = await start_worker(calls_per_worker=1)
    url, occupy = await fleet.answer(), fleet.registry.occupy

    async def slow(*args):
        await asyncio.sleep(0.2)
        return await occupy(*args)

    monkeypatch.setattr(fleet.registry, "occupy", slow)
    await asyncio.gather(fleet.connect(url), fleet.connect(url), return_exceptions=True)
    assert fleet.count("sfvopi_streams_total", result="attached") == 1
    assert fleet.count("sfvopi_streams_total", result="full") == 0


async def test_a_call_that_is_refused_on_its_way_in_gives_its_place_back(start_worker, monkeypatch):
    fleet = await start_worker(calls_per_worker=1)

    async def taken(*_):
        return False

    with monkeypatch.context() as patched:
        patched.setattr(fleet.registry, "occupy", taken)
        assert (await fleet.refusal(await fleet.answer("call-1"))).status_code == 503
    await fleet.registry.release("call-1")
    await fleet.call("call-2")
    assert fleet.count("sfvopi_streams_total", result="attached") == 1


@pytest.mark.parametrize(("header", "kind"), [({}, "absent"), ({"X-Call-UUID": "other"}, "different")])
async def test_a_call_header_that_is_absent_or_different_is_counted_and_not_trusted(fleet, header, kind):
    carrier = await fleet.connect(await fleet.answer(), additional_headers=header)
    await carrier.start()
    await fleet.scripted()
    assert fleet.count("sfvopi_upgrade_header_mismatch_total", kind=kind) == 1


# -- a stream that returns


async def test_a_returning_stream_is_adopted_under_the_living_pipeline(fleet, until):
    url = await fleet.answer()
    first = await fleet.connect(url)
    await first.start()
    scripted = await fleet.scripted()
    await first.press("8")
    await until(lambda: len(first.events("playAudio")) > 5)
    await first.press("6")
    await until(lambda: first.events("clearAudio"))
    assert first.events("clearAudio")[0]["sequenceNumber"] == 1
    await first.press("8")
    await until(lambda: first.heard_s > 0.8)
    epoch = (await fleet.registry.get("call-1")).epoch
    await first.hang_up()
    await until(lambda: fleet.app.sessions.get("call-1").stream.socket is None)
    await asyncio.sleep(0.3)
    second = await fleet.connect(url)
    await asyncio.sleep(0.1)
    assert not second.heard, "nothing is said before its start"
    await second.start("S2")
    await until(lambda: second.heard_s > 0.3)
    assert fleet.bots.scripted == [scripted], "the same pipeline"
    await second.press("6")
    await until(lambda: second.events("clearAudio"))
    assert second.events("clearAudio") == [{"event": "clearAudio", "streamId": "S2", "sequenceNumber": 2}]
    record = await fleet.registry.get("call-1")
    assert record.epoch > epoch
    assert record.attachments == 2
    assert fleet.count("sfvopi_streams_total", result="adopted") == 1
    assert fleet.count("sfvopi_attach_seconds_count") == 1, "observed once per call"
    assert "adopted" in [event for event, _ in await until_timeline(fleet, "adopted")]


async def until_timeline(fleet, event):
    async with asyncio.timeout(3):
        while event not in [name for name, _ in await fleet.timeline()]:
            await asyncio.sleep(0.05)
    return await fleet.timeline()


async def test_what_the_bot_says_waits_for_the_stream_to_return(fleet, until):
    url = await fleet.answer()
    first = await fleet.connect(url)
    await first.start()
    await fleet.scripted()
    await first.press("1")
    await until(lambda: first.heard_s > 0.3)
    await first.hang_up()
    said_s = first.heard_s
    await asyncio.sleep(0.4)
    second = await fleet.connect(url)
    await second.start()
    await until(lambda: second.heard_s + said_s > 0.9)
    assert second.heard_s + said_s <= 1.01


async def test_a_stream_that_returns_without_a_start_is_closed_and_the_window_runs_on(fleet):
    url = await fleet.answer()
    first = await fleet.connect(url)
    await first.start()
    await fleet.scripted()
    await first.hang_up()
    second = await fleet.connect(url)
    assert await second.closed() == 1008
    assert (await fleet.ended()).reason == Reason.STREAM_CLOSED


# -- a second stream


async def test_a_second_stream_is_refused_while_the_first_is_alive(fleet):
    first = await fleet.call()
    first.talk()
    began_at = time.monotonic()
    refused = await fleet.refusal(fleet.url())
    assert refused.status_code == 403
    assert 1.4 < time.monotonic() - began_at < 2.0
    assert fleet.count("sfvopi_streams_total", result="busy") == 1
    assert fleet.app.sessions.get("call-1").stream.is_attached


async def test_several_streams_beside_a_living_one_are_all_refused_before_a_gateway_takes_the_worker_for_away(fleet):
    """The chaos suite replayed a live call's token: the last in the queue waited 3 s, the gateway gave up, and
    another worker was given the call."""
    first = await fleet.call()
    first.talk()
    began_at = time.monotonic()
    refusals = await asyncio.gather(*(fleet.refusal(fleet.url()) for _ in range(4)))
    assert [refused.status_code for refused in refusals] == [403] * 4
    assert time.monotonic() - began_at < 2.9, "a gateway waits 3 s"


async def test_a_second_stream_takes_over_from_a_silent_first(fleet, until):
    first = await fleet.call()
    await fleet.scripted()
    await asyncio.sleep(0.2)
    second = await fleet.connect(fleet.url())
    await second.start("S2")
    assert await first.closed() == 1008
    await second.press("1")
    await until(lambda: second.heard_s)
    assert fleet.count("sfvopi_streams_total", result="replaced") == 1
    assert (await fleet.registry.get("call-1")).state == "active", "the first stream's end detaches nothing"


async def test_a_second_stream_takes_over_as_soon_as_the_first_closes(fleet, until):
    first = await fleet.call()
    first.talk()
    waiting = asyncio.create_task(fleet.connect(fleet.url()))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await first.hang_up()
    second = await asyncio.wait_for(waiting, 0.5)
    await second.start()
    await until(lambda: fleet.app.sessions.get("call-1").stream.is_attached)


async def test_many_streams_of_one_call_at_once_make_one_session(start_worker):
    fleet = await start_worker(start_deadline_s=5)
    url = await fleet.answer()
    tries = await asyncio.gather(*[fleet.connect(url) for _ in range(6)], return_exceptions=True)
    attached = [each for each in tries if not isinstance(each, BaseException)]
    assert len(fleet.app.sessions) == 1
    assert len([each for each in attached if each.connection.state is websockets.State.OPEN]) == 1
    assert all(each.response.status_code == 403 for each in tries if isinstance(each, websockets.InvalidStatus))


# -- dead streams


async def test_a_stream_without_any_message_is_dropped_and_can_return(start_worker, until):
    fleet = await start_worker(media_timeout_s=0.5, reconnect_window_s=3)
    first = await fleet.call()
    await fleet.scripted()
    assert await first.closed() == 1008
    await until(lambda: not fleet.app.sessions.get("call-1").stream.is_attached)
    second = await fleet.connect(fleet.url())
    await second.start()
    await until(lambda: fleet.app.sessions.get("call-1").stream.is_attached)


async def test_a_process_that_stood_still_takes_nobody_for_silent(start_worker):
    fleet = await start_worker(media_timeout_s=0.5)
    carrier = await fleet.call()
    await fleet.scripted()

    async def talk():
        while True:
            await carrier.send(render_event(MediaReceived(b"\xd5" * 160, PCMA_8K, "S1")))
            await asyncio.sleep(0.02)

    talking = asyncio.create_task(talk())
    await asyncio.sleep(0.3)
    time.sleep(2)  # all that the process does stands still, as under SIGSTOP
    await asyncio.sleep(1)
    talking.cancel()
    assert fleet.app.sessions.get("call-1").stream.is_attached
    assert carrier.connection.state is websockets.State.OPEN


async def test_a_peer_that_reads_nothing_does_not_hold_up_a_hangup(fleet, until):
    """A blocked write once held clearAudio, and with it the cancel of the pipeline, for twenty seconds."""
    carrier = await fleet.connect(await fleet.answer(bot="test:echo"))
    await carrier.start()
    transport = carrier.connection.transport
    session = fleet.app.sessions.get("call-1")
    await session.stream.watch.pipeline_started.wait()
    transport.pause_reading()
    websocket = session.stream.socket._websocket
    writable = websocket.scope["state"]["abort"].__self__.get_protocol().writable
    while writable.is_set():  # until the kernel holds no more
        await websocket.send_text("x" * 8000)
    began_at = time.monotonic()
    await end_call(fleet.registry, "call-1", Reason.CALLER_HUNG_UP)
    await fleet.ended()
    assert time.monotonic() - began_at < 4.0
    await until(lambda: fleet.app.server.open_connections == 0)


async def test_a_stream_that_is_attached_to_a_call_which_ends_just_then_is_closed(fleet, until, monkeypatch):
    """A window once ran out while a returning stream was being attached: the socket was adopted by a session that
    had closed its streams already, and the caller sat in silence on a call that nobody held."""
    first = await fleet.call()
    await fleet.scripted()
    session = fleet.app.sessions.get("call-1")
    await first.hang_up()
    await until(lambda: session.stream.socket is None)
    move = fleet.registry.move

    async def move_late(call_id, event, *rest, **options):
        if event is not CallEvent.ATTACH:
            return await move(call_id, event, *rest, **options)
        session.end(Reason.STREAM_CLOSED)
        await until(lambda: not len(fleet.app.sessions))
        raise RegistryAway("it took too long")

    monkeypatch.setattr(fleet.registry, "move", move_late)
    second = await fleet.connect(fleet.url())
    assert await second.closed(1.0) == 1000


# -- a registry that was restarted empty


async def lose_everything(fleet):
    fleet.registry._calls.clear()
    assert await fleet.registry.get("call-1") is None


async def test_a_living_call_that_the_registry_has_lost_is_written_down_again_by_its_worker(fleet, until):
    await fleet.call()
    await fleet.scripted()
    before = await fleet.registry.get("call-1")
    await lose_everything(fleet)
    async with asyncio.timeout(5):
        while await fleet.registry.get("call-1") is None:
            await asyncio.sleep(0.02)
    after = await fleet.registry.get("call-1")
    assert (after.state, after.epoch, after.bot, after.from_number) == (
        "active",
        before.epoch,
        before.bot,
        "+911234567890",
    )


async def test_its_stream_may_come_back_before_that(fleet, until):
    """After an empty restart of Redis, carriers that reconnected to living sessions were answered 404."""
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.hang_up()
    await until(lambda: fleet.app.sessions.get("call-1").stream.socket is None)
    await lose_everything(fleet)
    await fleet.connect(fleet.url())
    assert fleet.count("sfvopi_streams_total", result="adopted") == 1
    assert (await fleet.registry.get("call-1")).state == "active"
