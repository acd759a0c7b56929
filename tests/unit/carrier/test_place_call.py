import asyncio
import base64
import hashlib
import json

import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from shared.carrier.audio import tone
from shared.carrier.call import place_call
from shared.carrier.events import EventKind
from shared.carrier.plan import (
    CallPlan,
    HangUp,
    InterruptAfter,
    Knobs,
    Press,
    RawFrame,
    Say,
    Stall,
    Wait,
    WaitForBot,
)
from shared.carrier.report import CallOutcome
from shared.sfvopi.formats import PCMA_8K, AudioFormat, Codec
from shared.sfvopi.g711 import encode
from shared.sfvopi.messages import PlayAudio
from shared.sfvopi.render import render_command

LISTEN = (WaitForBot(quiet_s=0.2, limit_s=3), HangUp())
SPEECH = Say("beep", tone(300, 0.4))


def plan_for(server, **fields) -> CallPlan:
    defaults = {
        "answer_url": server.hook("answer"),
        "fallback_url": server.hook("fallback"),
        "hangup_url": server.hook("hangup"),
        "steps": LISTEN,
        "max_s": 8,
    }
    return CallPlan(**(defaults | fields))


def responding(status: int, content=None):
    async def respond(request):
        return JSONResponse(content, status_code=status)

    return respond


async def listen_on(stream) -> None:
    await stream.until(lambda s: s.close_code is not None, 30)


# -- a whole call --


async def test_a_call_is_answered_heard_and_hung_up(server):
    server.extra_headers = {"X-Call-UUID": "abc"}
    report = await place_call(plan_for(server, from_number="+911", to_number="+912"))

    assert report.outcome is CallOutcome.COMPLETED, report
    assert report.errors == []
    assert (report.ended_by, report.close_code) == ("caller", 1000)
    assert 0.45 < report.heard_s < 0.55
    assert 0 <= report.first_frame_ms < report.first_audio_ms < 1500
    assert report.underruns == 0
    assert report.frames_received == 25
    stream = server.streams[0]
    assert len(stream.of("media")) == report.frames_sent
    assert stream.messages[0]["event"] == "start"
    assert stream.messages[1]["media"]["payload"] == base64.b64encode(b"\xd5" * 160).decode()
    assert server.upgrade_headers[0]["x-call-uuid"] == "abc"
    assert "sec-websocket-extensions" not in server.upgrade_headers[0]
    assert server.received("answer")[0] | {"answered_at": ""} == {
        "call_uuid": report.call_uuid,
        "from": "+911",
        "to": "+912",
        "direction": "INBOUND",
        "call_status": "IN_PROGRESS",
        "answered_at": "",
    }
    hangup = server.received("hangup")[0]
    assert (hangup["call_status"], hangup["hangup_cause"]) == ("COMPLETED", "16")
    assert {"duration", "started_at", "answer_at", "ended_at"} <= hangup.keys()
    assert report.hangup_statuses == [200]
    assert json.loads(json.dumps(report.to_dict()))["outcome"] == "completed"


@pytest.mark.parametrize("format", [AudioFormat(Codec.PCMU), AudioFormat(Codec.L16), AudioFormat(Codec.L16, 16000)])
async def test_audio_goes_both_ways_in_the_format_of_the_answer(server, format):
    server.format = format
    report = await place_call(plan_for(server, steps=(SPEECH, *LISTEN), keep_audio=True))

    assert report.outcome is CallOutcome.COMPLETED, report
    assert (report.codec, report.sample_rate) == (format.codec, format.sample_rate)
    assert len(report.heard_pcm) > 0.45 * format.sample_rate * 2
    media = server.streams[0].of("media")[3]["media"]
    assert (media["contentType"], media["sampleRate"]) == (format.content_type, format.sample_rate)
    assert len(base64.b64decode(media["payload"])) == format.frame_bytes


async def test_an_outbound_call_rings_first_and_webhooks_can_be_get(server):
    plan = plan_for(server, method="GET", direction="OUTBOUND", ring_url=server.hook("ring"), from_number="+91 1")
    report = await place_call(plan)

    assert report.outcome is CallOutcome.COMPLETED, report
    assert [name for name, _ in server.webhooks] == ["ring", "answer", "hangup"]
    assert server.received("answer")[0]["request_uuid"].startswith("sfv_ob_req_")
    assert server.received("answer")[0]["from"] == "+91 1"


async def test_frames_leave_every_20_ms_without_drift(server):
    report = await place_call(plan_for(server, steps=(Wait(1.5), HangUp()), expects_audio=False))

    stream = server.streams[0]
    arrived = [at for m, at in zip(stream.messages, stream.arrived_at, strict=True) if m["event"] == "media"]
    assert report.frames_sent == len(arrived)
    assert abs((arrived[-1] - arrived[0]) - 0.02 * (len(arrived) - 1)) < 0.04 + report.lag_ms / 1000
    assert 74 <= len(arrived) <= 77


async def test_keys_are_pressed_and_events_told(server):
    told = []
    plan = plan_for(server, steps=(WaitForBot(quiet_s=0.1), Press("5"), SPEECH, Wait(0.2), HangUp()))
    await place_call(plan, lambda event: told.append(event.kind))

    assert [m["digit"] for m in server.streams[0].of("dtmf")] == ["5"]
    kinds = [
        EventKind.ANSWER_ASKED,
        EventKind.ANSWERED,
        EventKind.CONNECTED,
        EventKind.STREAM_STARTED,
        EventKind.BOT_SPEAKING,
        EventKind.KEY_PRESSED,
        EventKind.CALLER_SPEAKING,
        EventKind.CALLER_QUIET,
        EventKind.ENDED,
        EventKind.HANGUP_SENT,
    ]
    assert [kind for kind in told if kind in kinds] == kinds


async def test_the_recording_holds_the_caller_left_and_the_bot_right(server, tmp_path):
    import audioop
    import wave

    path = tmp_path / "call.wav"
    report = await place_call(plan_for(server, steps=(WaitForBot(0.3), SPEECH, HangUp()), record_path=str(path)))

    assert report.recording == str(path)
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)
        both = file.readframes(file.getnframes())
    half = len(both) // 8 * 4
    left, right = (audioop.tomono(both[:half], 2, *side) for side in ((1, 0), (0, 1)))
    assert audioop.rms(left, 2) < audioop.rms(right, 2)  # first the bot greets
    left, right = (audioop.tomono(both[half + 3200 :], 2, *side) for side in ((1, 0), (0, 1)))
    assert audioop.rms(left, 2) > audioop.rms(right, 2)  # then the caller speaks


@pytest.mark.parametrize("is_whole", [True, False])
async def test_keys_of_the_bot_are_heard_as_a_machine_hears_them(server, is_whole):
    import audioop

    tones = audioop.add(tone(770, 0.3), tone(1336, 0.3), 2)
    pieces = (
        [tones] if is_whole else [piece for at in (0, 1600, 3200) for piece in (tones[at : at + 1600], bytes(1600))]
    )

    async def press(stream):
        await stream.until(lambda s: s.of("media"))
        for piece in pieces:
            await stream.socket.send_text(render_command(PlayAudio(encode(piece, PCMA_8K), PCMA_8K)))
        await listen_on(stream)

    server.bot = press
    report = await place_call(plan_for(server, hears_keys=True))
    assert report.heard_digits == ("5" if is_whole else "555")
    assert (await place_call(plan_for(server))).heard_digits == "", "nobody asked"


# -- webhooks --


async def test_a_webhook_that_times_out_is_followed_by_the_fallback(server):
    async def never(request):
        await asyncio.sleep(2)
        return JSONResponse({})

    server.answers["answer"] = never
    report = await place_call(plan_for(server, knobs=Knobs(answer_limit_s=0.2)))

    assert report.outcome is CallOutcome.COMPLETED, report
    assert report.fallback_used
    assert (report.webhook_status, report.fallback_status) == (None, 200)
    assert report.answer_ms >= 200
    assert report.errors == ["primary answer webhook: no answer within 0.2 s"]


async def test_a_call_that_both_webhooks_refuse_is_refused(server):
    server.answers = {"answer": responding(503), "fallback": responding(500)}
    report = await place_call(plan_for(server))

    assert report.outcome is CallOutcome.REFUSED
    assert report.errors == ["primary answer webhook: HTTP 503", "fallback answer webhook: HTTP 500"]
    assert server.received("hangup")[0]["call_status"] == "FAILED"
    assert server.streams == []


async def test_a_server_that_is_not_there_makes_the_call_fail(server):
    report = await place_call(CallPlan(answer_url="http://127.0.0.1:9/answer"))

    assert report.outcome is CallOutcome.FAILED
    assert report.errors[0].startswith("primary answer webhook: not reached")


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        ({}, "the answer has no stream.url"),
        ({"url": "https://bots.example.com/ws"}, "stream.url is no wss:// URL"),
        (
            {"url": "ws://bots.example.com/ws"},
            "stream.url is ws:// and not on loopback: SFVoPI connects to wss:// only",
        ),
        ({"url": "wss://x/ws", "codec": "OPUS"}, "stream.codec is none of PCMA, PCMU, L16"),
        ({"url": "wss://x/ws", "sample_rate": 16000}, "stream.sample_rate: PCMA has no sample rate 16000; choose 8000"),
    ],
)
async def test_an_answer_that_no_carrier_would_take_is_reported(server, stream, why):
    server.answers["answer"] = responding(200, {"stream": stream})
    report = await place_call(plan_for(server, fallback_url=""))

    assert report.outcome is CallOutcome.FAILED
    assert report.errors == [f"primary answer webhook: {why}"]


async def test_an_answer_that_is_no_json_is_reported(server):
    async def xml(request):
        return PlainTextResponse("<Response/>")

    server.answers["answer"] = xml
    report = await place_call(plan_for(server, fallback_url=""))
    assert report.errors == ["primary answer webhook: the answer is not JSON"]


@pytest.mark.parametrize(("hangup", "times"), [("lost", 0), ("sent", 1), ("doubled", 2)])
async def test_the_hangup_webhook_can_be_lost_or_doubled(server, hangup, times):
    report = await place_call(plan_for(server, knobs=Knobs(hangup=hangup)))

    assert report.outcome is CallOutcome.COMPLETED, report
    assert len(server.received("hangup")) == len(report.hangup_statuses) == times


async def test_the_hangup_webhook_can_come_before_the_close_and_its_failure_does_not_matter(server):
    closed_when_hung_up = []

    async def hangup(request):
        closed_when_hung_up.append(server.streams[0].close_code)
        return JSONResponse({}, status_code=500)

    server.answers["hangup"] = hangup
    report = await place_call(plan_for(server, knobs=Knobs(hangup_first=True)))

    assert report.outcome is CallOutcome.COMPLETED, report
    assert closed_when_hung_up == [None]
    assert report.hangup_statuses == [500]


# -- what is heard --


async def test_audio_in_another_format_than_promised_is_an_error_and_not_heard(server):
    async def bot(stream):
        await stream.play(0.2, format=AudioFormat(Codec.L16, 16000))
        await listen_on(stream)

    server.bot = bot
    report = await place_call(plan_for(server, steps=(Wait(0.5), HangUp())))

    assert report.outcome is CallOutcome.FAILED
    assert report.frames_wrong_format == 10
    assert report.errors == ["playAudio in L16 16000, but the answer promised PCMA 8000 (10 times)"]
    assert report.heard_s == 0


async def test_a_gap_in_speech_is_an_underrun(server):
    async def bot(stream):
        await stream.play(0.3)
        await asyncio.sleep(0.35)
        await stream.play(0.3)
        await listen_on(stream)

    server.bot = bot
    report = await place_call(plan_for(server, steps=(Wait(1.5), HangUp())))

    assert report.underruns == 1
    assert 80 < report.gaps_ms[0] < 1500


async def test_an_interruption_is_measured_from_the_first_loud_frame_to_the_clear(server):
    async def bot(stream):
        speaking = asyncio.create_task(stream.play(5))
        await stream.caller_speaks()
        await asyncio.sleep(0.15)
        speaking.cancel()
        await stream.clear(7)
        await listen_on(stream)

    server.bot = bot
    steps = (InterruptAfter(0.4), Say("Stop!", bytes(3200) + tone(300, 0.4)), Wait(0.3), HangUp())
    report = await place_call(plan_for(server, steps=steps))

    assert report.outcome is CallOutcome.COMPLETED, report
    assert len(report.barge_in_ms) == 1
    assert 140 < report.barge_in_ms[0] < 1500
    assert report.silence_ms[0] == pytest.approx(report.barge_in_ms[0], abs=30)
    assert report.clear_numbers == [7]
    assert report.underruns == 0
    assert report.turns[0].is_interruption
    assert report.heard_s < 1.5
    assert server.streams[0].of("clearedAudio") == [{"event": "clearedAudio", "sequenceNumber": 7}]


async def test_a_checkpoint_is_acknowledged_when_it_has_been_played_and_not_before(server):
    waited = []

    async def bot(stream):
        clock = asyncio.get_running_loop().time
        await stream.checkpoint("nothing before")
        await stream.until(lambda s: len(s.of("playedStream")) == 1)
        began = clock()
        await stream.play(0.6, ahead_s=10)
        await stream.checkpoint("greeting")
        await stream.until(lambda s: len(s.of("playedStream")) == 2)
        waited.append(clock() - began)
        await stream.play(0.6, ahead_s=10)
        await stream.checkpoint("never heard")
        await stream.clear()
        await listen_on(stream)

    server.bot = bot
    report = await place_call(plan_for(server))

    assert 0.6 <= waited[0] < 1.5
    assert report.checkpoints == ["nothing before", "greeting"]
    assert report.checkpoints_unplayed == ["never heard"]
    assert [m["name"] for m in server.streams[0].of("playedStream")] == report.checkpoints


async def test_the_answer_to_what_the_caller_said_is_timed(server):
    async def bot(stream):
        await stream.caller_speaks()
        await asyncio.sleep(0.4 + 0.3)
        await stream.play(0.3)
        await listen_on(stream)

    server.bot = bot
    report = await place_call(plan_for(server, steps=(SPEECH, *LISTEN)))

    assert report.turns[0].answered_after_ms == report.response_ms[0]
    assert 250 < report.response_ms[0] < 1500


async def test_a_bot_that_says_nothing_is_an_error(server):
    server.bot = listen_on
    report = await place_call(plan_for(server, steps=(WaitForBot(limit_s=0.3), HangUp())))

    assert report.outcome is CallOutcome.FAILED
    assert report.first_audio_ms is None
    assert report.errors == ["the bot said nothing for 0.3 s"]


async def test_messages_that_are_none_are_dropped_and_reported(server):
    async def bot(stream):
        for text in ("no json", "[]", '{"event":"playAudio","media":{"payload":"%%%"}}', '{"event":"hangup"}'):
            await stream.socket.send_text(text)
        await stream.send(event="checkpoint", name="x")
        await stream.play(0.2)
        await listen_on(stream)

    server.bot = bot
    report = await place_call(plan_for(server))

    assert report.outcome is CallOutcome.COMPLETED, report
    assert report.frames_dropped == 4
    assert "checkpoint without streamId" in report.errors
    told = [error.removeprefix("the bot sent what is no message: ") for error in report.errors]
    assert "not_json: 'no json'" in told
    assert """unknown_event: event 'hangup', '{"event":"hangup"}'""" in told


async def test_of_a_wrong_message_its_event_and_its_first_80_characters_are_shown(server):
    wrong = [
        '{"event":"playAudio","media":{"contentType":"audio/opus","payload":"' + "A" * 500 + '"}}',
        '{"event":"say","text":"' + "x" * 500 + '"}',
        '{"event":"say","text":"another"}',
        "\x1b]0;a title\x07",
    ]

    async def bot(stream):
        for text in wrong:
            await stream.socket.send_text(text)
        await stream.socket.send_bytes(bytes(320))
        await stream.play(0.2)
        await listen_on(stream)

    server.bot = bot
    report = await place_call(plan_for(server))

    opus = f"playAudio in an unknown format, but the answer promised PCMA 8000: event 'playAudio', {wrong[0][:80]!r}…"
    say = f"the bot sent what is no message: unknown_event (2 times): event 'say', {wrong[1][:80]!r}…"
    assert {opus, say} <= set(report.errors)
    assert "the bot sent what is no message: not_text: 320 bytes, no text" in report.errors
    assert not any("\x1b" in error for error in report.errors)


# -- ends --


async def test_a_bot_that_hangs_up_with_1000_completes_the_call(server):
    async def bot(stream):
        await stream.play(0.2, ahead_s=0)

    server.bot = bot
    report = await place_call(plan_for(server, steps=(Wait(30),)))

    assert report.outcome is CallOutcome.COMPLETED, report
    assert (report.ended_by, report.close_code, report.reconnects) == ("bot", 1000, 0)
    assert len(server.received("hangup")) == 1


async def test_a_call_that_outlives_its_limit_has_failed(server):
    report = await place_call(plan_for(server, steps=(), max_s=0.4))

    assert report.outcome is CallOutcome.FAILED
    assert report.ended_by == "limit"
    assert report.errors == ["the call did not end within 0.4 s"]


async def test_the_caller_hangs_up_in_time_whatever_is_left_to_say(server):
    report = await place_call(plan_for(server, steps=(Wait(30), HangUp()), hangup_after_s=0.6))

    assert report.outcome is CallOutcome.COMPLETED, report
    assert report.ended_by == "caller"
    assert report.notes == ["the call ended with 2 steps left"]


async def test_a_refused_upgrade_is_a_refusal_with_its_status(server):
    server.refuse_with = [403]
    report = await place_call(plan_for(server))

    assert report.outcome is CallOutcome.REFUSED
    assert report.upgrade_status == 403
    assert report.errors == ["the stream was refused: HTTP 403"]


async def test_the_carrier_can_cut_the_socket_instead_of_closing_it(server):
    report = await place_call(plan_for(server, knobs=Knobs(close_how="abort")))

    assert report.outcome is CallOutcome.COMPLETED, report
    assert report.close_code == 1006
    await server.streams[0].until(lambda s: s.close_code is not None)
    assert server.streams[0].close_code in (1005, 1006)  # no close frame came


# -- reconnections --


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("how", ["abort", "silent"])
async def test_a_dropped_socket_is_opened_again(server, is_new, how):
    knobs = Knobs(drop_socket_at_s=0.3, drop_how=how, reconnect_after_s=0.1, new_stream_id=is_new)
    report = await place_call(plan_for(server, steps=(Wait(1), HangUp()), knobs=knobs))

    assert report.outcome is CallOutcome.COMPLETED, report
    assert report.reconnects == 1
    assert len(server.streams) == 2
    assert len(report.stream_ids) == 1 + is_new
    assert [stream.stream_id for stream in server.streams] == [report.stream_ids[0], report.stream_ids[-1]]
    assert 3 <= report.frames_lost <= 15
    assert report.frames_sent + report.frames_lost == pytest.approx(50, abs=2)


async def test_attempts_to_reconnect_are_limited(server):
    server.refuse_with = [None, 503, 503, 503]
    knobs = Knobs(drop_socket_at_s=0.2, reconnect_after_s=0.05)
    report = await place_call(plan_for(server, steps=(Wait(5), HangUp()), knobs=knobs))

    assert report.outcome is CallOutcome.FAILED
    assert (report.ended_by, report.close_code, report.reconnects) == ("network", 1006, 0)
    assert report.errors == [
        "the stream was lost (close code 1006)",
        "reconnection: the stream was refused: HTTP 503 (2 times)",
    ]


# What a server does, and what is said of a call that failed by it.
FAILURES = {
    "mute": (None, "nothing was heard of the bot: it sent no audio"),
    "silence": (bytes([0xD5]) * 160, "nothing was heard of the bot: it sent 0.2 s of audio, all of it silence"),
    "1000 at once": (1000, "the bot closed the stream with 1000, and before that it had sent no audio"),
    "1011 each time": (1011, "the stream was lost (close code 1011: no model), 2 reconnections later"),
}


@pytest.mark.parametrize(("does", "why"), FAILURES.values(), ids=FAILURES)
async def test_every_call_that_failed_says_why(server, does, why):
    async def bot(stream):
        if isinstance(does, int):
            return await stream.socket.close(does, "no model" if does != 1000 else "")
        for _ in range(10 if does else 0):
            await stream.socket.send_text(render_command(PlayAudio(does, stream.format)))
        return await listen_on(stream)

    server.bot = bot
    plan = plan_for(server, steps=(Wait(1), HangUp()), knobs=Knobs(reconnect_after_s=0.02))
    report = await place_call(plan)

    assert report.outcome is CallOutcome.FAILED
    assert report.errors == [why]


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        *[(reason, CallOutcome.FAILED) for reason in ("bot_error", "provider_error", "stuck", "no_start")],
        *[(reason, CallOutcome.COMPLETED) for reason in ("bot_ended", "idle", "goodbye", "")],
        ("busy_message", CallOutcome.REFUSED),
    ],
)
async def test_a_close_with_1000_says_in_its_reason_what_became_of_the_call(server, reason, outcome):
    async def bot(stream):
        await stream.play(0.2)
        await stream.socket.close(1000, reason)

    server.bot = bot
    report = await place_call(plan_for(server, steps=(Wait(3), HangUp())))

    assert (report.outcome, report.close_code, report.close_reason) == (outcome, 1000, reason)
    is_fine = outcome is CallOutcome.COMPLETED
    assert report.errors == ([] if is_fine else [f"the server ended the call for this reason: {reason}"])


async def test_a_server_that_cuts_tcp_in_answer_to_our_close_is_no_network_that_drops():
    async def cut(reader, writer):  # a WebSocket server of one page: upgrades, plays, and never answers a close
        key = next(line for line in (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n") if b"-key:" in line.lower())
        accept = base64.b64encode(hashlib.sha1(key.split()[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        head = b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        text = render_command(PlayAudio(encode(tone(440, 0.5), PCMA_8K), PCMA_8K)).encode()
        writer.write(head + accept + b"\r\n\r\n" + b"\x81\x7e" + len(text).to_bytes(2, "big") + text)
        kind = length = 0
        while kind != 0x88:  # a close
            kind, length = await reader.readexactly(2)
            size = int.from_bytes(await reader.readexactly(2), "big") if length & 0x7F == 126 else length & 0x7F
            await reader.readexactly(4 + size)  # the mask, and what it masks
        writer.transport.abort()

    told = []
    async with await asyncio.start_server(cut, "127.0.0.1", 0) as listening:
        url = f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/ws"
        plan = CallPlan(stream_url=url, steps=LISTEN, max_s=8)
        report = await place_call(plan, lambda event: told.append(event.kind))

    assert (report.outcome, report.ended_by, report.errors) == (CallOutcome.COMPLETED, "caller", [])
    assert EventKind.SOCKET_DROPPED not in told
    assert report.reconnects == 0


async def test_a_server_that_breaks_the_rules_of_websocket_is_told_so(server):
    async def bot(stream):
        await stream.play(0.1)
        await stream.socket.send_text("x" * (2 << 20))
        await listen_on(stream)

    server.bot = bot
    report = await place_call(plan_for(server, steps=(Wait(2), HangUp()), knobs=Knobs(reconnects=0)))
    assert report.outcome is CallOutcome.FAILED
    assert "the server breaks the rules of WebSocket: 1009 (message too big)" in report.errors[1]


async def test_a_close_other_than_1000_is_a_drop(server):
    async def bot(stream):
        await stream.play(0.2)
        if len(server.streams) == 1:
            await stream.socket.close(1001)
        else:
            await listen_on(stream)

    server.bot = bot
    knobs = Knobs(reconnect_after_s=0.05)
    report = await place_call(plan_for(server, steps=(Wait(0.8), HangUp()), knobs=knobs))

    assert report.outcome is CallOutcome.COMPLETED, report
    assert (report.reconnects, report.ended_by) == (1, "caller")


async def test_a_close_with_1000_can_mean_a_reconnection_too(server):
    async def bot(stream):
        await stream.play(0.1, ahead_s=0)

    server.bot = bot
    knobs = Knobs(reconnect_after_s=0.05, on_our_close="reconnect", reconnects=1)
    report = await place_call(plan_for(server, steps=(Wait(5), HangUp()), knobs=knobs))

    assert len(server.streams) == 2
    assert (report.outcome, report.ended_by, report.close_code) == (CallOutcome.COMPLETED, "bot", 1000)


# -- a bad network, and bad input --


async def test_raw_frames_are_injected_before_start_and_later(server):
    junk = (
        RawFrame(-1, '{"event":"media","media":{"payload":"1dU="}}'),
        RawFrame(0.1, b"\x00\x01"),
        RawFrame(0.2, "not json"),
        RawFrame(0.3, lambda stream_id: json.dumps({"event": "dtmf", "streamId": stream_id, "digit": "?"})),
    )
    report = await place_call(plan_for(server, knobs=Knobs(raw_frames=junk), steps=(Wait(0.5), HangUp())))

    assert report.outcome is CallOutcome.COMPLETED, report
    stream = server.streams[0]
    assert stream.messages[0] == {"event": "media", "media": {"payload": "1dU="}}
    assert stream.messages[1]["event"] == "start"
    assert b"\x00\x01" in stream.messages
    assert "not json" in stream.messages
    assert stream.of("dtmf") == [{"event": "dtmf", "streamId": stream.stream_id, "digit": "?"}]


async def test_start_can_come_twice(server):
    await place_call(plan_for(server, knobs=Knobs(starts=2)))
    assert len(server.streams[0].of("start")) == 2


async def test_a_stall_holds_frames_back_and_then_brings_them_all(server):
    plan = plan_for(server, knobs=Knobs(stall=Stall(at_s=0.2, for_s=0.4)), steps=(Wait(1), HangUp()))
    report = await place_call(plan)

    stream = server.streams[0]
    gaps = [b - a for a, b in zip(stream.arrived_at, stream.arrived_at[1:], strict=False)]
    assert max(gaps) > 0.3
    assert report.frames_sent == pytest.approx(50, abs=3)


async def test_jitter_loses_no_frame(server):
    report = await place_call(plan_for(server, knobs=Knobs(jitter_ms=15), steps=(Wait(0.6), HangUp())))
    assert report.outcome is CallOutcome.COMPLETED, report
    assert report.frames_sent == pytest.approx(30, abs=2)


async def test_nothing_is_left_behind(server):
    before = asyncio.all_tasks()
    await place_call(plan_for(server, knobs=Knobs(drop_socket_at_s=0.2, drop_how="silent", reconnect_after_s=0.05)))
    async with asyncio.timeout(3):
        while any("carrier" in task.get_name() for task in asyncio.all_tasks() - before):
            await asyncio.sleep(0.01)
    assert server.bot_errors == []
