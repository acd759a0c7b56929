"""A call outlives its worker: the leg attaches to another one, and the carrier's socket knows nothing of it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import websockets

from shared.calls.outcome import Reason
from shared.fleet.worker import WorkerState
from shared.registry.endings import end_call

START = '{"event":"start","streamId":"s","callId":"x"}'
MEDIA = '{"event":"media","streamId":"s","media":{"payload":"%s"}}'


def lose_connections(worker: Any) -> None:
    """As the kernel does for a process that was killed."""
    for connection in list(worker.server._server.server_state.connections):
        connection.transport.abort()


async def kill(worker: Any) -> None:
    """Nobody listens there any more; its lease holds yet."""
    for sock in worker.server._server.servers:
        sock.close()
    lose_connections(worker)


async def closed_with(carrier: Any) -> int:
    async with asyncio.timeout(8):
        await carrier.wait_closed()
    return int(carrier.close_code)


async def two_workers(house: Any) -> tuple[Any, Any]:
    """The first one gets the call."""
    return await house.start_worker("w1"), await house.start_worker("w2")


async def nothing_is_left(house: Any) -> None:
    def is_clean() -> bool:
        legs = [task for task in asyncio.all_tasks() if task.get_name().startswith("leg:")]
        return not legs and house.gateway.streams.open_legs == 0

    await house.until(is_clean)


async def test_a_call_whose_worker_was_killed_goes_on_at_another(house: Any) -> None:
    first, second = await two_workers(house)
    async with house.connect((await house.answer("c-1")).url) as carrier:
        await carrier.send(START)
        await house.until(lambda: first.streams and first.streams[0].received == [START])
        await first.streams[0].send("from the first")
        await kill(first)
        await house.until(lambda: second.streams and second.streams[0].received == [START])
        await carrier.send(MEDIA % "1dXV")
        await second.streams[0].send("from the second")
        assert [await carrier.recv(), await carrier.recv()] == ["from the first", "from the second"]
        await house.until(lambda: second.streams[0].received == [START, MEDIA % "1dXV"])
        assert second.streams[0].token == first.streams[0].token
        record = await house.registry.get("c-1")
        assert (record.worker_id, record.attachments) == ("w2", 2)
        assert {view.record.worker_id: view.used for view in await house.registry.workers()} == {"w1": 0, "w2": 1}
    await nothing_is_left(house)
    assert house.metric("sfvopi_reattachments_total", result="attached") == 1
    async with asyncio.timeout(5):
        while "reattached" not in await house.timeline("c-1"):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("code", [1001, 1011, 1012])
async def test_a_worker_that_goes_away_or_fails_ends_no_call(house: Any, code: int) -> None:
    first, second = await two_workers(house)
    async with house.connect((await house.answer("c-1")).url) as carrier:
        await first.streams[0].close(code)
        await house.until(lambda: second.streams)
        await second.streams[0].close(1000)
        assert await closed_with(carrier) == 1000
    await nothing_is_left(house)


async def test_what_the_caller_says_meanwhile_is_handed_over_behind_the_last_start(house: Any) -> None:
    first, second = await two_workers(house)
    second.refuse_with = 503
    async with house.connect((await house.answer("c-1")).url) as carrier:
        await carrier.send('{"event":"start","streamId":"older"}')
        await carrier.send(START)
        await house.until(lambda: len(first.streams[0].received) == 2)
        await kill(first)
        await house.until(lambda: house.metric("sfvopi_routes_total", result="worker_refused"))
        said = [MEDIA % f"{n:08}" for n in range(20)]
        for frame in said:
            await carrier.send(frame)
        await asyncio.sleep(0.3)  # longer than sound may be late while there is a worker
        second.refuse_with = None
        await house.until(lambda: second.streams and len(second.streams[0].received) == 21)
        assert second.streams[0].received == [START, *said]
    await nothing_is_left(house)


async def test_a_connection_lost_to_the_only_worker_is_made_again(house: Any) -> None:
    worker = await house.start_worker()
    async with house.connect((await house.answer("c-1")).url) as carrier:
        lose_connections(worker)
        await house.until(lambda: len(worker.streams) == 2)
        await worker.streams[1].send("still here")
        assert await carrier.recv() == "still here"
    await nothing_is_left(house)


async def test_two_of_three_workers_die_at_once_and_the_third_is_found(house: Any) -> None:
    first, second = await two_workers(house)
    third = await house.start_worker("w3")
    async with house.connect((await house.answer("c-1")).url):
        await kill(second)
        await kill(first)
        await house.until(lambda: third.streams)
    await nothing_is_left(house)


@pytest.fixture
async def impatient(open_house: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A gateway that gives a call up after half a second without a worker."""
    monkeypatch.setattr("gateway.attaching.DEADLINE_S", 0.5)
    return await open_house(reconnect_window_s=0, heartbeat_s=0.3, lease_s=1.2)


async def test_a_fleet_without_another_worker_closes_the_carrier_with_1011_in_the_end(impatient: Any) -> None:
    house = impatient
    worker = await house.start_worker()
    async with house.connect((await house.answer("c-1")).url) as carrier:
        await kill(worker)
        assert await closed_with(carrier) == 1011
    assert house.metric("sfvopi_reattachments_total", result="failed") == 1
    await nothing_is_left(house)


async def test_a_call_goes_on_however_often_its_workers_are_lost(house: Any) -> None:
    """Once four in a row ended it, whoever killed them."""
    workers = await two_workers(house)
    async with house.connect((await house.answer("c-1")).url) as carrier:
        for n in range(1, 9):
            await house.until(lambda n=n: sum(len(worker.streams) for worker in workers) == n)
            for worker in workers:
                lose_connections(worker)
        await house.until(lambda: sum(len(worker.streams) for worker in workers) == 9)
        last = max(workers, key=lambda worker: len(worker.streams))
        await last.streams[-1].send("still here")
        assert await carrier.recv() == "still here"
    await nothing_is_left(house)


async def test_a_call_that_every_worker_drops_at_once_is_asked_for_at_a_calm_pace_and_given_up(impatient: Any) -> None:
    house = impatient
    workers = await two_workers(house)
    async with house.connect((await house.answer("c-1")).url) as carrier:
        closing = asyncio.create_task(closed_with(carrier))
        while not closing.done():
            for worker in workers:
                lose_connections(worker)
            await asyncio.sleep(0.01)
        assert closing.result() == 1011
    assert 2 <= sum(len(worker.streams) for worker in workers) <= 25, "without a pause it would be a hundred"
    await nothing_is_left(house)


async def test_a_call_that_has_ended_is_attached_to_nobody(house: Any) -> None:
    first, second = await two_workers(house)
    async with house.connect((await house.answer("c-1")).url) as carrier:
        await end_call(house.registry, "c-1", Reason.SHUTDOWN)
        await first.streams[0].close(1001)
        assert await closed_with(carrier) == 1001
    assert not second.streams
    assert await house.used_slots() == 0
    await nothing_is_left(house)


async def test_a_caller_who_leaves_meanwhile_is_noticed_at_once(house: Any) -> None:
    worker = await house.start_worker()
    async with house.connect((await house.answer("c-1")).url):
        await kill(worker)
        await asyncio.sleep(0.1)
    async with asyncio.timeout(1):
        await nothing_is_left(house)


async def test_a_gateway_that_ends_meanwhile_cuts_the_leg(house: Any) -> None:
    worker = await house.start_worker()
    async with house.connect((await house.answer("c-1")).url) as carrier:
        await kill(worker)
        await asyncio.sleep(0.1)
        house.gateway.streams.cut_all()
        assert await closed_with(carrier) == 1001
    await nothing_is_left(house)


async def test_live_calls_find_another_worker_while_the_registry_is_away(house: Any) -> None:
    first, second = await two_workers(house)
    await house.gateway.beat()
    second.attaches = False
    async with house.connect((await house.answer("c-1")).url):
        house.registry.is_away = True
        await kill(first)
        await house.until(lambda: second.streams)
        house.registry.is_away = False
    await nothing_is_left(house)


@pytest.mark.parametrize("is_full", [True, False])
async def test_a_first_stream_that_its_worker_cannot_take_is_brought_to_another(house: Any, is_full: bool) -> None:
    first, second = await two_workers(house)
    answer = await house.answer("c-1")
    if is_full:
        first.refuse_with = 503
    else:
        await kill(first)
    async with house.connect(answer.url):
        assert len(second.streams) == 1
        assert await house.used_slots() == 1
    await nothing_is_left(house)


async def test_refusals_are_told_to_the_carrier_when_nobody_takes_it_for_a_while(house: Any) -> None:
    first, second = await two_workers(house)
    await house.start_worker("w3", state=WorkerState.DRAINING)
    answer = await house.answer("c-1")
    first.refuse_with = second.refuse_with = 503
    with pytest.raises(websockets.InvalidStatus) as refused:
        await house.connect(answer.url)
    assert refused.value.response.status_code == 503
    assert house.metric("sfvopi_routes_total", result="worker_refused") > 2, "both were asked again"
    await nothing_is_left(house)
