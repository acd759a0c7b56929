"""A registry that names addresses outside the fleet's networks: no gateway connects there, or sends nginx there."""

from typing import Any

import pytest

from shared.calls.state import CallEvent
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.process.server import serve
from tests.unit.gateway.conftest import LEASE_MS


async def pose(house: Any, address: str, worker_id: str = "aa-poisoned", capacity: int = 100) -> None:
    """A worker that somebody has written into the registry."""
    record = WorkerRecord(worker_id, address, WorkerState.SERVING, capacity)
    await house.registry.heartbeat(record, [], LEASE_MS)


@pytest.fixture
async def lan(open_house: Any) -> Any:
    """A gateway whose workers are at 127.0.0.1, and not anywhere else on this machine."""
    return await open_house(worker_networks="127.0.0.1/32")


@pytest.mark.parametrize(
    "address", ["127.0.0.2:{port}", "[::1]:{port}", "localhost:{port}", "169.254.169.254:80", "x\r\nX-Evil: 1", ""]
)
async def test_nothing_is_sent_to_an_address_outside(lan: Any, address: str) -> None:
    knocks: list[str] = []

    async def trap(scope: Any, receive: Any, send: Any) -> None:
        knocks.append(scope["type"])

    trapped = await serve(trap, "0.0.0.0" if address.startswith("127") else "127.0.0.1", 0)
    await pose(lan, address.format(port=trapped.port))
    answer = await lan.answer("c-1")
    assert await lan.status_of(answer.url) == 503
    path = answer.url.split(str(lan.public.port))[1]
    asked = await lan.inner.get("/route", headers={"X-Original-URI": path})
    assert asked.status_code == 503
    assert "x-worker" not in asked.headers
    assert knocks == []
    assert lan.metric("sfvopi_worker_addresses_refused_total") >= 1
    await trapped.stop()


async def test_a_call_that_was_reserved_there_goes_to_a_worker_that_is_one(lan: Any) -> None:
    await pose(lan, "192.0.2.1:80")
    answer = await lan.answer("c-1")
    worker = await lan.start_worker("zz-good")
    async with lan.connect(answer.url):
        assert len(worker.streams) == 1


async def test_a_relayed_call_is_not_attached_again_to_an_address_outside(lan: Any) -> None:
    worker = await lan.start_worker("w1", capacity=1)
    answer = await lan.answer("c-1")
    async with lan.connect(answer.url) as stream:
        await pose(lan, "192.0.2.1:80")
        second = await lan.start_worker("zz-second")
        await worker.streams[0].close(1011)
        await lan.until(lambda: second.streams)
        assert stream.close_code is None
    assert lan.metric("sfvopi_worker_addresses_refused_total") >= 1


async def test_while_the_registry_is_away_such_a_worker_is_not_among_those_last_heard_of(lan: Any) -> None:
    await pose(lan, "192.0.2.1:80", "w-out")
    answer = await lan.answer("c-1")
    await lan.gateway.beat()
    lan.registry.is_away = True
    assert await lan.status_of(answer.url) == 503


async def test_a_live_call_whose_worker_record_is_poisoned_later_is_not_sent_there(lan: Any) -> None:
    worker = await lan.start_worker("w1")
    answer = await lan.answer("c-1")
    await lan.registry.move("c-1", CallEvent.ATTACH, {"worker_id": "w1"})
    await pose(lan, "192.0.2.1:80", "w1")
    assert await lan.status_of(answer.url) == 503
    assert worker.streams == []


async def test_it_is_said_once_and_not_with_every_heartbeat(lan: Any) -> None:
    await pose(lan, "192.0.2.1:80")
    for _ in range(5):
        await lan.gateway.beat()
    assert lan.metric("sfvopi_worker_addresses_refused_total") == 1
