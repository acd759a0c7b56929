"""Relayed streams: a carrier on one side, a worker on the other, a leg between them; real sockets."""

import asyncio
import contextlib
import logging
import socket
from typing import Any

import pytest
import websockets

from shared.calls.state import CallState

START = '{"event":"start","streamId":"s","callId":"x"}'
MEDIA = '{"event":"media","streamId":"s","media":{"payload":"%s","contentType":"audio/PCMA","sampleRate":8000}}'
PLAY = '{"event":"playAudio","media":{"payload":"%s","contentType":"audio/PCMA","sampleRate":8000}}'


async def receive(stream: Any, count: int) -> list[str]:
    async with asyncio.timeout(5):
        return [await stream.recv() for _ in range(count)]


async def closed_with(stream: Any) -> int:
    async with asyncio.timeout(8):
        try:
            while True:
                await stream.recv()
        except websockets.ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006


async def nothing_is_left(house: Any) -> None:
    def is_clean() -> bool:
        legs = [task for task in asyncio.all_tasks() if task.get_name().startswith("leg:")]
        return not legs and house.gateway.streams.open_legs == 0

    await house.until(is_clean)
    assert house.metric("sfvopi_legs") == 0


async def test_frames_are_copied_verbatim_both_ways(house: Any) -> None:
    worker = await house.start_worker()
    answer = await house.answer("c-1")
    there = [START, *(MEDIA % f"{n:08}" for n in range(200)), "no json at all", '{ "odd" :  "spacing ✓" }', ""]
    back = [*(PLAY % f"{n:08}" for n in range(200)), '{"event":"checkpoint","streamId":"s","name":"ü"}']
    async with house.connect(answer.url) as carrier:
        assert house.metric("sfvopi_legs") == 1
        [stream] = worker.streams
        for frame in there:
            await carrier.send(frame)
        await carrier.send(b"\x00binary\xff")
        for frame in back:
            await stream.send(frame)
        assert await receive(carrier, len(back)) == back
        await house.until(lambda: len(stream.received) == len(there) + 1)
        assert stream.received == [*there, b"\x00binary\xff"]
    await nothing_is_left(house)
    assert house.metric("sfvopi_leg_frames_dropped_total", direction="to_worker") == 0
    assert "routed" in await house.timeline("c-1")


async def test_the_worker_sees_the_carriers_own_headers_and_token(house: Any) -> None:
    worker = await house.start_worker()
    answer = await house.answer("c-1")
    headers = {"X-Call-UUID": "c-1", "X-Request-ID": "r-1", "X-Odd": "ü", "X-Long": "x" * 2000}
    async with house.connect(answer.url, additional_headers=headers, user_agent_header="SFVoPI/1"):
        [stream] = worker.streams
    assert stream.token == answer.url.rsplit("/", 1)[1]
    assert (stream.headers["x-call-uuid"], stream.headers["x-request-id"]) == ("c-1", "r-1")
    assert stream.headers["user-agent"] == "SFVoPI/1"
    assert "x-long" not in stream.headers
    assert "sec-websocket-extensions" not in stream.headers


@pytest.mark.parametrize(("code", "carried"), [(1000, 1000), (1008, 1008), (1013, 1013), (4321, 4321)])
async def test_the_workers_close_code_reaches_the_carrier(house: Any, code: int, carried: int) -> None:
    worker = await house.start_worker()
    async with house.connect((await house.answer("c-1")).url) as carrier:
        await worker.streams[0].send("goodbye")
        await worker.streams[0].close(code)
        assert await receive(carrier, 1) == ["goodbye"]
        assert await closed_with(carrier) == carried
    await nothing_is_left(house)


@pytest.mark.parametrize(("code", "carried"), [(1000, 1000), (1001, 1001), (4321, 4321)])
async def test_the_carriers_close_code_reaches_the_worker_behind_its_last_frame(
    house: Any, code: int, carried: int
) -> None:
    worker = await house.start_worker()
    async with house.connect((await house.answer("c-1")).url) as carrier:
        [stream] = worker.streams
        await carrier.send("last words")
        await carrier.close(code)
    await house.until(lambda: stream.closed_with)
    assert (stream.received, stream.closed_with) == (["last words"], carried)
    await nothing_is_left(house)


async def test_a_carrier_that_vanishes_is_told_to_the_worker_as_an_error(house: Any) -> None:
    worker = await house.start_worker()
    async with house.connect((await house.answer("c-1")).url) as carrier:
        [stream] = worker.streams
        carrier.transport.abort()
        await house.until(lambda: stream.closed_with)
    assert stream.closed_with == 1011
    await nothing_is_left(house)


@pytest.mark.parametrize("status", [401, 403, 404, 503])
async def test_a_workers_refusal_reaches_the_carrier_as_the_same_status(house: Any, status: int) -> None:
    worker = await house.start_worker()
    worker.refuse_with = status
    assert await house.status_of((await house.answer("c-1")).url) == status
    asked = house.metric("sfvopi_routes_total", result="worker_refused")
    assert asked > 1 if status == 503 else asked == 1, "who is full may have room in a moment"
    await nothing_is_left(house)


async def test_a_worker_that_is_not_there_is_told_as_503_when_it_has_not_come_back_for_a_while(house: Any) -> None:
    worker = await house.start_worker()
    answer = await house.answer("c-1")
    await worker.server.stop()
    with pytest.raises(websockets.InvalidStatus) as refused:
        await house.connect(answer.url)
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"] == "1"
    assert house.metric("sfvopi_routes_total", result="worker_away") > 1


async def test_a_worker_that_accepts_no_stream_in_time_is_told_as_503(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ends.ACCEPT_DEADLINE_S", 0.2)
    worker = await house.start_worker()
    answer = await house.answer("c-1")

    async def hangs(*_: object) -> bool:
        await asyncio.sleep(1)
        return True

    monkeypatch.setattr(worker.registry, "occupy", hangs)
    assert await house.status_of(answer.url) == 503


async def test_a_returning_stream_with_the_same_url_is_brought_to_the_same_worker(house: Any) -> None:
    await house.start_worker("w1")
    await house.start_worker("w2")
    answer = await house.answer("c-1")
    for count in (1, 2, 3):
        async with house.connect(answer.url):
            streams = [(w.worker_id, s) for w in house.workers for s in w.streams]
            assert len(streams) == count
    assert len({worker_id for worker_id, _ in streams}) == 1


async def test_a_10_mb_frame_closes_its_own_stream_and_disturbs_no_other_call(house: Any) -> None:
    worker = await house.start_worker()
    bad_url, good_url = (await house.answer("bad")).url, (await house.answer("good")).url
    async with house.connect(bad_url) as bad, house.connect(good_url) as good:
        await house.until(lambda: len(worker.streams) == 2)
        bad_stream, good_stream = worker.streams
        with contextlib.suppress(websockets.ConnectionClosed):
            await bad.send("x" * 10_000_000)
        assert await closed_with(bad) == 1009
        await house.until(lambda: bad_stream.closed_with)
        assert bad_stream.closed_with == 1009
        assert bad_stream.received == []
        await good.send(START)
        await good_stream.send(PLAY % "1dXV")
        assert await receive(good, 1) == [PLAY % "1dXV"]
        await house.until(lambda: good_stream.received == [START])
        assert good_stream.closed_with is None


async def test_text_that_is_no_utf8_closes_its_own_stream_only(house: Any) -> None:
    worker = await house.start_worker()
    async with house.connect((await house.answer("c-1")).url) as carrier:
        await house.until(lambda: worker.streams)
        carrier.transport.write(b"\x81\x82\x00\x00\x00\x00\xff\xfe")  # a masked text frame
        assert await closed_with(carrier) == 1007
    await nothing_is_left(house)


async def test_a_thousand_junk_frames_reach_the_worker_that_counts_them(house: Any) -> None:
    worker = await house.start_worker()
    junk = ["{", "[]", "null", '{"event":null}', '{"event":"media"}', "\x00", "💥"]
    async with house.connect((await house.answer("c-1")).url) as carrier:
        for n in range(1000):
            await carrier.send(junk[n % len(junk)])
        await house.until(lambda: len(worker.streams[0].received) == 1000)
    await nothing_is_left(house)


def small_socket(port: int) -> socket.socket:
    """A carrier's socket that takes in next to nothing while it is not read."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.connect(("127.0.0.1", port))
    plain.setblocking(False)
    return plain


async def test_a_carrier_that_does_not_read_costs_bounded_memory_and_hears_no_late_audio(house: Any) -> None:
    worker = await house.start_worker()
    answer = await house.answer("c-1")
    carrier = await house.connect(answer.url, sock=small_socket(house.public.port), max_queue=1)
    await house.until(lambda: worker.streams)
    [stream] = worker.streams
    sent = 0
    async with asyncio.timeout(20):
        while house.metric("sfvopi_leg_frames_dropped_total", direction="to_carrier") < 500:
            for _ in range(100):
                await stream.send(PLAY % f"{sent:04}{'x' * 212}")
                sent += 1
            await asyncio.sleep(0.02)
    await stream.send("control")
    await asyncio.sleep(0.3)
    await stream.send("the end")
    heard = []
    while not heard or heard[-1] != "the end":
        heard += await receive(carrier, 1)
    late = house.metric("sfvopi_leg_frames_dropped_total", direction="to_carrier")
    assert "control" in heard
    assert len(heard) == sent + 2 - late
    numbers = [int(frame.split('"payload":"')[1][:4]) for frame in heard if "payload" in frame]
    assert numbers == sorted(numbers)
    assert len(numbers) < 400  # what the sockets on the way hold, not what was sent meanwhile
    await carrier.close()
    await nothing_is_left(house)


async def test_a_worker_that_does_not_read_costs_bounded_memory_too_and_keeps_start(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.process.server.FRAMES_PER_S", 1e6)  # a flood is what this carrier makes
    worker = await house.start_worker()
    async with house.connect((await house.answer("c-1")).url) as carrier:
        await house.until(lambda: worker.streams)
        [stream] = worker.streams
        stream.reads.clear()
        async with asyncio.timeout(20):
            while house.metric("sfvopi_leg_frames_dropped_total", direction="to_worker") < 200:
                for _ in range(100):
                    await carrier.send(MEDIA % ("x" * 212))
                await asyncio.sleep(0.01)
        await carrier.send(START)
        await asyncio.sleep(0.3)
        stream.reads.set()
        await house.until(lambda: START in stream.received)
        assert not [frame for frame in stream.received[stream.received.index(START) :] if "payload" in frame]
    await nothing_is_left(house)


async def test_a_half_open_carrier_is_noticed_and_leaves_nothing(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that answers no ping, as after a lost link: the socket stays, the frames do not come."""
    house.public._server.config.ws_ping_interval = 0.2
    house.public._server.config.ws_ping_timeout = 0.2
    worker = await house.start_worker()
    carrier = await house.connect((await house.answer("c-1")).url)
    await house.until(lambda: worker.streams)
    carrier.transport.pause_reading()
    await house.until(lambda: worker.streams[0].closed_with)
    await nothing_is_left(house)
    carrier.transport.abort()


async def test_a_carrier_that_leaves_while_its_worker_is_asked_leaves_nothing(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await house.start_worker()
    answer = await house.answer("c-1")
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(*_: object) -> bool:
        asked.set()
        await go_on.wait()
        return True

    monkeypatch.setattr(worker.registry, "occupy", slowly)
    connecting = asyncio.create_task(house.connect(answer.url).__aenter__())
    await asked.wait()
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    go_on.set()
    await house.until(lambda: worker.streams and worker.streams[0].closed_with)
    await nothing_is_left(house)
    assert (await house.registry.get("c-1")).state is CallState.ACTIVE  # the worker's to end


async def test_many_legs_at_once_do_not_mix(house: Any) -> None:
    worker = await house.start_worker(capacity=30)

    async def one(n: int) -> None:
        answer = await house.answer(f"c-{n}")
        async with house.connect(answer.url) as carrier:
            mine = next(stream for stream in worker.streams if answer.url.endswith(stream.token))
            for turn in range(20):
                await carrier.send(MEDIA % f"{n:04}{turn:04}")
                await mine.send(PLAY % f"{n:04}{turn:04}")
            assert await receive(carrier, 20) == [PLAY % f"{n:04}{turn:04}" for turn in range(20)]
            await house.until(lambda: len(mine.received) == 20)
            assert mine.received == [MEDIA % f"{n:04}{turn:04}" for turn in range(20)]

    await asyncio.gather(*(one(n) for n in range(30)))
    await nothing_is_left(house)


async def test_a_refused_upgrade_is_an_answer_and_no_error_in_the_log(
    house: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert await house.status_of(f"ws://127.0.0.1:{house.public.port}/ws/forged") == 401
    worker = await house.start_worker()
    worker.refuse_with = 503
    assert await house.status_of((await house.answer("c-1")).url) == 503
    await house.until(lambda: house.public.open_connections <= 1)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
