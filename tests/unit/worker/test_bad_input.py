"""Whatever a peer sends: dropped and counted, no call disturbed, nothing leaked."""

import asyncio
import contextlib
import json
import time

import pytest
import websockets

from shared.calls.outcome import Reason

BAD = [
    ("{", "not_json"),
    ("", "not_json"),
    ("[1, 2]", "not_object"),
    ("null", "not_object"),
    ('{"event": 5}', "no_event"),
    ("{}", "no_event"),
    ('{"event": "strange", "x": 1}', "unknown_event"),
    ('{"event": "media", "media": null}', "bad_field"),
    ('{"event": "media"}', "bad_field"),
    ('{"event": "media", "media": {"payload": "%%%"}}', "bad_payload"),
    ('{"event": "media", "media": {"payload": ""}}', "bad_payload"),
    ('{"event": "media", "media": {"payload": "1dU=", "contentType": "audio/PCMU"}}', "wrong_format"),
    ('{"event": "media", "media": {"payload": "1dU=", "sampleRate": 16000}}', "wrong_format"),
    ('{"event": "dtmf", "digit": "Z"}', "bad_field"),
    ('{"event": "clearedAudio"}', "bad_field"),
    ('{"event": "start"}', "bad_field"),
    (b"\x00\x01\x02", "not_text"),
    ("[" * 30000, "not_json"),
]


@pytest.mark.parametrize(("frame", "reason"), BAD)
async def test_a_bad_message_is_dropped_and_counted_and_the_call_goes_on(fleet, until, frame, reason):
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.send(frame)
    await carrier.press("1")
    await until(lambda: carrier.heard_s == 1.0)
    assert fleet.count("sfvopi_frames_dropped_total", reason=reason) == 1
    assert fleet.app.sessions.get("call-1").ending is None


async def test_media_before_start_is_dropped(fleet, until, media):
    carrier = await fleet.connect(await fleet.answer())
    await carrier.send(media(), media())
    await carrier.start()
    await fleet.scripted()
    await carrier.press("1")
    await until(lambda: carrier.heard_s)
    assert fleet.count("sfvopi_frames_dropped_total", reason="out_of_order") == 2


async def test_a_second_start_changes_the_stream_id_and_nothing_else(fleet, until):
    carrier = await fleet.call()
    scripted = await fleet.scripted()
    await carrier.start("S9")
    await carrier.press("4")
    await until(lambda: carrier.events("checkpoint"))
    assert carrier.events("checkpoint")[0]["streamId"] == "S9"
    assert fleet.bots.scripted == [scripted]


async def test_a_message_of_ten_megabytes_closes_its_stream_alone(fleet, until):
    other = await fleet.call("call-2")
    await fleet.scripted()
    other.talk()
    carrier = await fleet.call()
    await fleet.scripted()
    with contextlib.suppress(websockets.ConnectionClosed):
        await carrier.send("x" * 10_000_000)
    assert await carrier.closed() == 1009
    assert (await fleet.ended()).reason == Reason.STREAM_CLOSED
    await other.press("1")
    await until(lambda: other.heard_s == 1.0)


async def test_a_thousand_junk_messages_a_second_disturb_nobody(fleet, until, media):
    other = await fleet.call("call-2")
    await fleet.scripted()
    junk = await fleet.call()
    flooding = asyncio.create_task(flood(junk))
    await asyncio.sleep(0.5)
    await other.press("8")
    await until(lambda: other.heard_s > 2.0)
    sent = [at for at, message in other.heard if message["event"] == "playAudio"]
    late = max((at - sent[0]) - i * 0.1 for i, at in enumerate(sent))
    flooding.cancel()
    assert late < 0.2, "later than the lead, and the caller hears a gap"
    assert fleet.count("sfvopi_frames_dropped_total", reason="not_json") > 500


async def flood(carrier):
    while True:
        began_at = time.monotonic()
        for _ in range(100):
            await carrier.send("junk" * 20)
        await asyncio.sleep(max(0, 0.1 - (time.monotonic() - began_at)))


async def test_text_that_is_not_utf_8_closes_its_stream_alone(fleet, caplog):
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.connection.send(b"\xff\xfe", text=True)
    assert await carrier.closed() == 1007
    assert (await fleet.ended()).reason == Reason.STREAM_CLOSED


async def test_sockets_that_open_and_say_nothing_are_let_go(fleet):
    host, port = fleet.app.address.split(":")
    for _ in range(5):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        await writer.wait_closed()
    carrier = await fleet.call()
    await fleet.scripted()
    assert json.dumps(carrier.heard) == "[]"


async def test_after_twenty_calls_that_end_in_every_way_nothing_is_left(start_worker, until):
    fleet = await start_worker(calls_per_worker=20)
    await asyncio.sleep(0.1)
    tasks_before = len(asyncio.all_tasks())
    for number in range(20):
        call_id = f"call-{number}"
        bot = ("test:scripted", "test:echo", "test:swallows", "test:handles")[number % 4]
        carrier = await fleet.call(call_id, bot=bot)
        if number % 3:
            await fleet.app.sessions.get(call_id).stream.watch.pipeline_started.wait()
        if bot == "test:scripted":
            await carrier.press("3")
        else:
            await carrier.hang_up()
    await until(lambda: not len(fleet.app.sessions), 15)
    for carrier in fleet.carriers:
        await carrier.hang_up()
    await until(lambda: fleet.app.server.open_connections == 0)
    await until(lambda: len(asyncio.all_tasks()) <= tasks_before)
    views = await fleet.registry.workers()
    assert views[0].used == 0
    assert len(await fleet.registry.outbox()) == 20
    assert not fleet.app.sessions._turns
