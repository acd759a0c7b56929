"""A caller for whom there is no room is held: music, a place in line, and the bot on the same stream in his turn."""

import asyncio
import audioop
import contextlib
import time
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import websockets

from gateway.hold_music import RATE, compose
from gateway.prompt import HOLD_FRAME_S, read_hold_prompt
from shared.calls.outcome import Reason
from shared.calls.state import CallEvent, CallState
from shared.registry import MemoryRegistry
from shared.registry.endings import end_call
from shared.sfvopi.formats import AudioFormat
from shared.sfvopi.g711 import decode
from shared.sfvopi.messages import ClearAudio, PlayAudio
from shared.sfvopi.parse import parse_command
from shared.tokens import verify_token
from tests.unit.gateway.conftest import SECRET
from tests.unit.gateway.test_busy_message import write_wav

START = '{"event":"start","streamId":"s","callId":"x"}'
MEDIA = '{"event":"media","streamId":"s","media":{"payload":"1dXV"}}'
MUSIC, BUSY = 0x2010, 0x0810  # the samples of the two prompts


class HeldCaller:
    """A carrier's stream, read all the while; `said` is what came, a name for each message."""

    def __init__(self, stream: websockets.ClientConnection) -> None:
        self.stream = stream
        self.said: list[str] = []
        self.times: list[float] = []
        self.clears: list[ClearAudio] = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                text = await self.stream.recv()
                self.said.append(self._name_of(str(text)))
                self.times.append(time.monotonic())

    def _name_of(self, text: str) -> str:
        if not text.startswith("{"):
            return text
        message = parse_command(text)
        if isinstance(message, ClearAudio):
            self.clears.append(message)
            return "clear"
        assert isinstance(message, PlayAudio)
        loudness = audioop.avg(decode(message.payload[:100], message.format), 2)
        return "music" if abs(loudness - MUSIC) < 600 else "busy" if abs(loudness - BUSY) < 200 else "sound"

    @property
    def code(self) -> int | None:
        return self.stream.close_code

    @property
    def heard(self) -> list[str]:
        """What was heard, without repetitions."""
        return [name for n, name in enumerate(self.said) if n == 0 or self.said[n - 1] != name]


@contextlib.asynccontextmanager
async def on_the_line(house: Any, url: str, *frames: str) -> AsyncIterator[HeldCaller]:
    async with house.connect(url) as stream:
        caller = HeldCaller(stream)
        for frame in frames or (START,):
            await stream.send(frame)
        try:
            yield caller
        finally:
            caller.reading.cancel()


@pytest.fixture
def prompts(tmp_path: Path) -> dict[str, Any]:
    write_wav(tmp_path / "hold.wav", 0.4)
    with wave.open(str(tmp_path / "busy.wav"), "wb") as wav:
        wav.setparams((1, 2, 8000, 0, "NONE", ""))
        wav.writeframes(BUSY.to_bytes(2, "little") * 1600)
    return {"hold_wav": tmp_path / "hold.wav", "busy_wav": tmp_path / "busy.wav", "overflow": "hold"}


@pytest.fixture
async def full_house(open_house: Any, prompts: dict[str, Any]) -> Any:
    """One worker with one slot, and a call, `live`, that has it. Beats are quick."""
    house = await open_house(**prompts, heartbeat_s=0.1)
    worker = await house.start_worker(capacity=1)
    await house.answer("live")
    await house.registry.occupy("live", worker.worker_id, 3_600_000)
    return house


async def waiting(house: Any) -> list[str]:
    return [place.call_id for place in await house.registry.keep_line([], 0)]


async def state_of(house: Any, call_id: str) -> tuple[CallState, str]:
    record = await house.registry.get(call_id)
    return record.state, record.reason


async def until(condition: Any, deadline_s: float = 5) -> None:
    async with asyncio.timeout(deadline_s):
        while not await condition():
            await asyncio.sleep(0.01)


async def hang_up(house: Any, call_id: str) -> None:
    await house.post("hangup", {"call_uuid": call_id, "call_status": "COMPLETED", "duration": 9})


async def test_who_waits_hears_music_until_a_slot_is_free_and_then_the_bot_on_the_same_stream(full_house: Any) -> None:
    (worker,) = full_house.workers
    answer = await full_house.answer("c-1")
    assert await waiting(full_house) == ["c-1"]
    shown = (await full_house.inner.get("/api/calls/c-1")).json()["call"]
    assert (shown["state"], shown["held"]) == ("ringing", True)
    assert (await full_house.inner.get("/api/fleet")).json()["waiting"] == 1
    async with on_the_line(full_house, answer.url, START, MEDIA) as caller:
        await full_house.until(lambda: caller.said.count("music") >= 15)
        assert 0.3 <= caller.times[14] - caller.times[0] <= 1.5, "at the pace of its playing: 15 of 40 ms, 200 ms ahead"
        assert full_house.metric("sfvopi_held_calls") == 1
        await caller.stream.send('{"event":"dtmf","streamId":"s","digit":"5"}')
        await hang_up(full_house, "live")
        await full_house.until(lambda: worker.streams and worker.streams[0].received == [START])
        await worker.streams[0].send("hello")
        await full_house.until(lambda: caller.said[-1:] == ["hello"])
        assert caller.heard == ["music", "clear", "hello"], "no music lies in the carrier's buffer"
        assert caller.clears == [ClearAudio("s", 1)]
        await caller.stream.send(MEDIA)
        await full_house.until(lambda: worker.streams[0].received == [START, MEDIA])
        assert await state_of(full_house, "c-1") == (CallState.ACTIVE, "")
        assert await waiting(full_house) == []
        assert full_house.metric("sfvopi_held_calls") == 0
    assert full_house.metric("sfvopi_hold_seconds_count", result="attached") == 1
    assert full_house.metric("sfvopi_admissions_total", result="held") == 1
    await until(lambda: _is_noted(full_house, "c-1", {"held", "routed"}))
    assert (await full_house.registry.get("c-1")).figures["hold_s"] > 0.3


async def _is_noted(house: Any, call_id: str, events: set[str]) -> bool:
    record = await house.registry.get(call_id)
    return events <= set(await house.timeline(call_id)) and "hold_s" in record.figures


async def test_those_who_wait_are_served_in_the_order_of_their_coming(full_house: Any) -> None:
    (worker,) = full_house.workers
    urls = [(await full_house.answer(f"c-{n}")).url for n in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        for n in (2, 0, 1):  # their streams come in another order
            await stack.enter_async_context(on_the_line(full_house, urls[n]))
        await full_house.until(lambda: full_house.metric("sfvopi_held_calls") == 3)
        for n, before in enumerate(["live", "c-0", "c-1"]):
            await hang_up(full_house, before)
            await full_house.until(lambda n=n: len(worker.streams) == n + 1)
            assert verify_token(worker.streams[n].token, [SECRET], full_house.registry.now_ms()).call_id == f"c-{n}"
        assert await full_house.used_slots() == 1


async def test_asked_again_by_the_fallback_the_caller_keeps_his_place(full_house: Any) -> None:
    await full_house.answer("c-1")
    await full_house.answer("c-2")
    await full_house.answer("c-1", "fallback")
    assert await waiting(full_house) == ["c-1", "c-2"]


async def test_a_new_call_with_another_policy_does_not_overtake_the_line(full_house: Any, tmp_path: Path) -> None:
    answer = await full_house.answer("c-1")
    await full_house.registry.release("live")
    assert await full_house.registry.reserve("new", 1000, in_turn=True) is None
    async with on_the_line(full_house, answer.url):
        await full_house.until(lambda: full_house.workers[0].streams)


async def test_who_waits_for_too_long_hears_the_busy_message_and_the_call_is_refused(
    open_house: Any, prompts: dict[str, Any]
) -> None:
    house = await open_house(**prompts, hold_max_s=0.5, heartbeat_s=0.1)
    answer = await house.answer("c-1")
    async with on_the_line(house, answer.url) as caller:
        await house.until(lambda: caller.code is not None)
    assert (caller.heard, caller.code) == (["music", "clear", "busy"], 1000)
    assert await state_of(house, "c-1") == (CallState.ENDED, "busy_message")
    assert await waiting(house) == []
    assert house.metric("sfvopi_calls_total", result="refused", reason="busy_message") == 1
    assert house.metric("sfvopi_hold_seconds_count", result="busy_message") == 1
    assert await house.status_of(answer.url) == 403


async def test_who_hangs_up_while_waiting_leaves_the_line_at_once_and_is_no_completed_call(full_house: Any) -> None:
    answer = await full_house.answer("c-1")
    await full_house.answer("c-2")
    async with on_the_line(full_house, answer.url) as caller:
        await full_house.until(lambda: caller.said)
        await hang_up(full_house, "c-1")
        assert await waiting(full_house) == ["c-2"]
        await full_house.until(lambda: caller.code == 1000)  # the carrier forgot to close its stream
    assert await state_of(full_house, "c-1") == (CallState.ENDED, "abandoned")
    assert full_house.metric("sfvopi_calls_total", result="refused", reason="abandoned") == 1


async def test_without_a_hangup_webhook_the_call_ends_when_the_stream_does_not_come_back(
    open_house: Any, prompts: dict[str, Any]
) -> None:
    house = await open_house(**prompts, heartbeat_s=0.1, reconnect_window_s=0.3)
    answer = await house.answer("c-1")
    async with on_the_line(house, answer.url) as caller:
        await house.until(lambda: caller.said)
    await until(lambda: _is_empty(house))
    assert (await house.registry.get("c-1")).is_held, "he may come back"
    async with on_the_line(house, answer.url) as caller:
        await house.until(lambda: caller.said)
        await asyncio.sleep(0.5)
        assert await waiting(house) == ["c-1"]
    await until(lambda: _has_ended(house, "c-1", "abandoned"))
    assert house.metric("sfvopi_hold_seconds_count", result="left") == 2
    assert house.metric("sfvopi_calls_total", result="refused", reason="abandoned") == 1


async def _is_empty(house: Any) -> bool:
    return not await waiting(house)


async def _has_ended(house: Any, call_id: str, reason: str) -> bool:
    return await state_of(house, call_id) == (CallState.ENDED, reason)


async def test_a_hangup_before_the_stream_leaves_nothing_behind(full_house: Any) -> None:
    answer = await full_house.answer("c-1")
    await hang_up(full_house, "c-1")
    assert await waiting(full_house) == []
    assert await full_house.status_of(answer.url) == 403
    assert await state_of(full_house, "c-1") == (CallState.ENDED, "abandoned")


async def test_a_call_that_an_operator_ends_is_held_no_longer(full_house: Any) -> None:
    answer = await full_house.answer("c-1")
    async with on_the_line(full_house, answer.url) as caller:
        await full_house.until(lambda: caller.said)
        assert (await full_house.inner.post("/api/calls/c-1/end")).json() == {"ended": True}
        await full_house.until(lambda: caller.code == 1000)
    assert await state_of(full_house, "c-1") == (CallState.ENDED, "operator_ended")


async def test_the_place_outlives_the_gateway_and_the_stream_comes_to_another_one(
    full_house: Any, open_house: Any, prompts: dict[str, Any]
) -> None:
    url = (await full_house.answer("c-1")).url
    second = await full_house.answer("c-2")
    async with on_the_line(full_house, second.url):
        async with on_the_line(full_house, url) as caller:
            await full_house.until(lambda: caller.said)
            full_house.gateway.streams.cut_all()  # it goes away
            await full_house.until(lambda: caller.code == 1001)
        other = await open_house(**prompts, registry=full_house.registry, heartbeat_s=0.1)
        moved = url.replace(str(full_house.public.port), str(other.public.port))
        async with on_the_line(other, moved) as caller:
            await other.until(lambda: caller.said)
            assert await waiting(other) == ["c-1", "c-2"]
            await hang_up(other, "live")
            await other.until(lambda: caller.heard[:2] == ["music", "clear"])
            assert (await other.registry.get("c-1")).worker_id == "w1"
    assert full_house.metric("sfvopi_hold_seconds_count", result="cut") == 2


async def test_the_url_of_a_held_call_is_good_for_the_call_that_follows_and_stays_relayed(full_house: Any) -> None:
    (worker,) = full_house.workers
    answer = await full_house.answer("c-1")

    async def routed_to() -> str:
        path = answer.url.partition("//")[2].partition("/")[2]
        response = await full_house.inner.get("/route", headers={"X-Original-URI": f"/{path}"})
        assert response.status_code == 204
        return str(response.headers["x-worker"])

    assert (await routed_to()).endswith(f":{full_house.public.port}")
    await hang_up(full_house, "live")
    async with on_the_line(full_house, answer.url):
        await full_house.until(lambda: len(worker.streams) == 1)
    assert (await routed_to()).endswith(f":{full_house.public.port}")
    async with on_the_line(full_house, answer.url):
        await full_house.until(lambda: len(worker.streams) == 2)
    assert await state_of(full_house, "c-1") == (CallState.ACTIVE, "")
    assert full_house.metric("sfvopi_routes_total", result="routed") == 2


async def test_a_number_at_its_ceiling_keeps_only_its_own_callers_waiting(
    open_house: Any, prompts: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "bots.toml").write_text('["+918000000002"]\nceiling = 1\n')
    house = await open_house(**prompts, numbers_file=tmp_path / "bots.toml", heartbeat_s=0.1)
    worker = await house.start_worker(capacity=2)
    await house.answer("live", to="+918000000002")
    held = await house.answer("c-1", to="+918000000002")
    async with on_the_line(house, held.url) as caller:
        await house.until(lambda: caller.said)
        other = await house.answer("c-2")
        assert await house.used_slots() == 2
        assert await waiting(house) == ["c-1"]
        async with on_the_line(house, other.url):
            await house.until(lambda: len(worker.streams) == 1)
        await hang_up(house, "live")
        await house.until(lambda: len(worker.streams) == 2)


async def test_a_worker_that_refuses_gives_the_caller_back_to_his_place(full_house: Any) -> None:
    (worker,) = full_house.workers
    url = (await full_house.answer("c-1")).url
    async with on_the_line(full_house, url) as caller:
        await full_house.until(lambda: caller.said)
        worker.refuse_with = 503
        await hang_up(full_house, "live")
        await full_house.until(lambda: full_house.metric("sfvopi_routes_total", result="worker_refused") >= 2)
        worker.refuse_with = None
        await full_house.until(lambda: worker.streams and worker.streams[0].received == [START])
        await full_house.until(lambda: caller.heard == ["music", "clear"])


async def test_a_new_call_that_no_worker_takes_waits_in_line_though_it_has_a_slot(
    open_house: Any, prompts: Any
) -> None:
    house = await open_house(**prompts, heartbeat_s=0.1)
    worker, other = await house.start_worker("w1", capacity=2), await house.start_worker("w2", capacity=2)
    worker.refuse_with = other.refuse_with = 503  # the registry knows of free slots, they know better
    url = (await house.answer("c-1")).url
    assert await waiting(house) == []
    async with on_the_line(house, url) as caller:
        await house.until(lambda: caller.said.count("music") > 3)
        assert house.metric("sfvopi_held_calls") == 1
        worker.refuse_with = other.refuse_with = None
        await house.until(lambda: [*worker.streams, *other.streams])
        await house.until(lambda: caller.heard == ["music", "clear"])
        assert await state_of(house, "c-1") == (CallState.ACTIVE, "")
        assert await house.used_slots() == 1


async def test_a_new_call_whose_worker_has_gone_waits_for_the_next(open_house: Any, prompts: Any) -> None:
    house = await open_house(**prompts, heartbeat_s=0.1)
    await house.start_worker("w1", capacity=2)
    url = (await house.answer("c-1")).url
    await house.registry.remove_worker("w1")
    async with on_the_line(house, url) as caller:
        await house.until(lambda: caller.said.count("music") > 3)
        worker = await house.start_worker("w2", capacity=2)
        await house.until(lambda: worker.streams)
        await house.until(lambda: caller.heard == ["music", "clear"])


async def test_who_may_not_wait_is_refused_when_no_worker_takes_the_call(open_house: Any, prompts: Any) -> None:
    house = await open_house(**{**prompts, "overflow": "reject"})
    (await house.start_worker("w1", capacity=2)).refuse_with = 503
    url = (await house.answer("c-1")).url
    assert await house.status_of(url) == 503
    assert await waiting(house) == []


async def test_or_hears_the_busy_message_if_that_is_his_numbers_policy(open_house: Any, prompts: Any) -> None:
    house = await open_house(**{**prompts, "overflow": "busy"})
    (await house.start_worker("w1", capacity=2)).refuse_with = 503
    url = (await house.answer("c-1")).url
    async with on_the_line(house, url) as caller:
        await house.until(lambda: caller.code == 1000)
    assert caller.heard == ["busy"]
    assert await state_of(house, "c-1") == (CallState.ENDED, Reason.BUSY_MESSAGE)
    assert await house.used_slots() == 0


async def test_nginx_is_told_to_bring_a_call_here_that_a_worker_did_not_take_if_it_may_wait(
    open_house: Any, prompts: Any
) -> None:
    house = await open_house(**prompts)
    workers = [await house.start_worker(name, capacity=2) for name in ("w1", "w2")]
    addresses = [f"127.0.0.1:{worker.server.port}" for worker in workers]
    path = urlsplit((await house.answer("c-1")).url).path

    async def route(failed: str = "") -> str:
        answered = await house.inner.get("/route", headers={"X-Original-URI": path, "X-Failed-Worker": failed})
        return str(answered.headers["x-worker"])

    first = await route()
    assert first in addresses
    assert await route(first) not in addresses
    await house.registry.occupy("c-1", "w1", 60_000)
    await house.registry.move("c-1", CallEvent.ATTACH, {"worker_id": "w1"})
    assert await route(addresses[0]) == addresses[1], "a live call goes straight to another worker"


async def test_a_stream_that_comes_again_takes_the_place_of_the_one_before(full_house: Any) -> None:
    url = (await full_house.answer("c-1")).url
    async with on_the_line(full_house, url) as first:
        await full_house.until(lambda: first.said)
        async with on_the_line(full_house, url) as second:
            await full_house.until(lambda: first.code == 1008)
            await hang_up(full_house, "live")
            await full_house.until(lambda: second.heard == ["music", "clear"])
    assert len(full_house.workers[0].streams) == 1


async def test_music_goes_on_while_the_registry_is_away_and_the_turn_comes_when_it_is_back(full_house: Any) -> None:
    (worker,) = full_house.workers
    url = (await full_house.answer("c-1")).url
    async with on_the_line(full_house, url) as caller:
        await full_house.until(lambda: caller.said)
        await end_call(full_house.registry, "live", Reason.CALLER_HUNG_UP)
        full_house.registry.is_away = True
        await caller.stream.close()
    async with on_the_line(full_house, url) as caller:
        await full_house.until(lambda: len(caller.said) > 10)
        full_house.registry.is_away = False
        await full_house.until(lambda: worker.streams)


async def test_while_the_registry_is_away_nobody_is_put_into_line(full_house: Any) -> None:
    full_house.registry.is_away = True
    answer = await full_house.answer("c-1")
    token = verify_token(answer.url.rpartition("/")[2], [SECRET], full_house.registry.now_ms())
    assert token.worker_id == ""


async def test_a_registry_that_was_restarted_empty_is_told_who_waits(full_house: Any) -> None:
    (worker,) = full_house.workers
    await full_house.answer("c-0")
    urls = [(await full_house.answer(f"c-{n}", **{"from": "+919000000001"})).url for n in (1, 2)]
    async with on_the_line(full_house, urls[1]) as second, on_the_line(full_house, urls[0]) as first:
        await full_house.until(lambda: first.said and second.said)
        empty = MemoryRegistry()
        for name in ("_calls", "_slots", "_line", "_created"):
            setattr(full_house.registry, name, getattr(empty, name))
        await full_house.registry.heartbeat(await record_of(full_house, worker), ["live"], 3_600_000)
        await until(lambda: _waits(full_house, ["c-1", "c-2"]))
        record = await full_house.registry.get("c-1")
        assert (record.from_number, record.is_held) == ("+919000000001", True)
        await end_call(full_house.registry, "live", Reason.CALLER_HUNG_UP)
        await full_house.until(lambda: first.heard == ["music", "clear"])


async def record_of(house: Any, worker: Any) -> Any:
    await worker.beat(1)
    (view,) = await house.registry.workers()
    return view.record


async def _waits(house: Any, call_ids: list[str]) -> bool:
    return await waiting(house) == call_ids


async def test_a_draining_gateway_keeps_its_held_callers_like_legs(full_house: Any) -> None:
    answer = await full_house.answer("c-1")
    async with on_the_line(full_house, answer.url) as caller:
        await full_house.until(lambda: caller.said)
        assert (full_house.gateway.streams.open_legs, full_house.gateway.streams.idle.is_set()) == (1, False)
        full_house.gateway.streams.cut_all()
        await full_house.until(lambda: caller.code == 1001)
    await full_house.until(full_house.gateway.streams.idle.is_set)
    assert await waiting(full_house) == ["c-1"], "the carrier may bring the stream to another gateway"
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("leg:", "hold:"))]


async def test_a_full_fleet_is_asked_once_a_look_however_many_wait(full_house: Any) -> None:
    asked: list[str] = []
    reserve = full_house.registry.reserve

    async def counted(call_id: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(call_id)
        return await reserve(call_id, *args, **kwargs)

    urls = [(await full_house.answer(f"c-{n:02}")).url for n in range(20)]
    async with contextlib.AsyncExitStack() as stack:
        for url in urls:
            await stack.enter_async_context(on_the_line(full_house, url))
        await full_house.until(lambda: full_house.metric("sfvopi_held_calls") == 20)
        await asyncio.sleep(0.2)
        full_house.registry.reserve = counted
        await full_house.gateway.line.advance()
        assert asked == ["c-00"]


def test_our_own_music_is_quiet_has_no_seam_and_is_a_whole_number_of_frames() -> None:
    prompt = read_hold_prompt(None)
    pcm = compose()
    assert 10 < prompt.duration_s < 20
    assert len(pcm) // 2 % round(HOLD_FRAME_S * RATE) == 0
    assert audioop.max(pcm, 2) < 8000
    assert min(audioop.rms(pcm[at : at + 8000], 2) for at in range(0, len(pcm) - 8000, 8000)) > 300
    around = audioop.rms(pcm[-400:] + pcm[:400], 2)
    assert around > 100, "it sounds on over the seam"
    frames = prompt.frames(AudioFormat())
    assert len(frames) == round(prompt.duration_s / HOLD_FRAME_S)
