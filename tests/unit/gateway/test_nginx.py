"""The nginx configuration that is shipped, in a real nginx, before a gateway and workers of this process."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets

from shared.calls.state import CallEvent
from shared.cli.fleet import nginx
from shared.cli.fleet.ports import free_port
from shared.sfvopi.formats import PCMA_8K
from shared.tokens import StreamToken, sign_token
from tests.unit.gateway.conftest import SECRET, FakeWorker, House, until


class Edge:
    """nginx before a house. `upgrade` is the status of a stream, and what it was refused with."""

    def __init__(self, house: House, port: int, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.house = house
        self.port = port
        self.folder = folder
        self.process = process

    def url(self, answered: str) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/{answered.rpartition('/')[2]}"

    def connect(self, answered: str, **headers: str) -> websockets.connect:
        return websockets.connect(self.url(answered), compression=None, additional_headers=headers)

    async def refusal(self, answered: str, **headers: str) -> Any:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with self.connect(answered, **headers):
                pass
        return refused.value.response


@pytest.fixture
async def start_edge(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    started: list[asyncio.subprocess.Process] = []

    async def start(house: House, dead_gateway: bool = False) -> Edge:
        port, dead = free_port(), [f"127.0.0.1:{free_port()}"] if dead_gateway else []
        configuration = nginx.write_configuration(
            tmp_path / "nginx",
            f"127.0.0.1:{port}",
            [*dead, f"127.0.0.1:{house.public.port}"],
            [*dead, f"127.0.0.1:{house.internal.port}"],
        )
        with (tmp_path / "nginx" / "error.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *nginx.argv(configuration), stderr=log, stdout=log, start_new_session=True
            )
        started.append(process)
        await until(lambda: nginx.is_listening(port) or process.returncode is not None)
        assert process.returncode is None, (tmp_path / "nginx" / "error.log").read_text()
        return Edge(house, port, tmp_path, process)

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        await process.wait()


async def kill(worker: FakeWorker) -> None:
    """Nobody listens there any more, and the registry has not noticed."""
    assert worker.server is not None
    await worker.server.stop()


async def test_a_stream_goes_to_the_worker_that_is_named_and_no_byte_of_it_through_the_gateway(
    house: House, start_edge: Callable[..., Any]
) -> None:
    worker = await house.start_worker()
    edge = await start_edge(house)
    answered = await house.answer("c-1")
    forged = {"X-SFVoPI-Path": "relayed", "X-Failed-Worker": f"127.0.0.1:{worker.server.port}", "X-Call-UUID": "c-1"}
    async with edge.connect(answered.url, **forged) as carrier:
        await carrier.send('{"event":"start"}')
        await until(lambda: worker.streams and worker.streams[0].received)
        await worker.streams[0].send("from the bot")
        assert await carrier.recv() == "from the bot"
        assert house.gateway.streams.open_legs == 0
    (stream,) = worker.streams
    assert stream.headers["x-call-uuid"] == "c-1"
    assert not {"x-sfvopi-path", "x-failed-worker"} & set(stream.headers), "only we may send these"
    assert stream.headers["x-forwarded-for"] == "127.0.0.1"


async def test_a_worker_that_is_gone_is_passed_over(house: House, start_edge: Callable[..., Any]) -> None:
    gone, other = await house.start_worker("w1"), await house.start_worker("w2")
    edge = await start_edge(house)
    answered = await house.answer("c-1")
    await kill(gone)
    async with edge.connect(answered.url):
        await until(lambda: other.streams)
        assert house.gateway.streams.open_legs == 0


async def test_a_full_workers_refusal_is_asked_about_again(house: House, start_edge: Callable[..., Any]) -> None:
    full, other = await house.start_worker("w1"), await house.start_worker("w2")
    full.refuse_with = 503
    edge = await start_edge(house)
    answered = await house.answer("c-1")
    async with edge.connect(answered.url):
        await until(lambda: other.streams)


async def test_the_second_refusal_goes_to_a_gateways_leg_which_looks_further(
    house: House, start_edge: Callable[..., Any]
) -> None:
    workers = [await house.start_worker(name) for name in ("w1", "w2", "w3")]
    edge = await start_edge(house)
    answered = await house.answer("c-1")
    workers[0].refuse_with = workers[1].refuse_with = 503
    await workers[2].beat(10)
    async with edge.connect(answered.url):
        await until(lambda: workers[2].streams or workers[1].streams)
        assert house.gateway.streams.open_legs == 1, "w1 had the slot, w2 was named next, and both refused"


async def test_a_refusal_reaches_the_carrier_as_it_is_meant(house: House, start_edge: Callable[..., Any]) -> None:
    worker = await house.start_worker()
    edge = await start_edge(house)
    later = house.registry.now_ms() + 60_000
    assert (await edge.refusal("x" * 30)).status_code == 401
    unknown = sign_token(StreamToken("c-0", "w9", PCMA_8K, later, later), SECRET)
    assert (await edge.refusal(unknown)).status_code == 404
    ended = await house.answer("c-1")
    await house.registry.move("c-1", CallEvent.END, {"reason": "caller_hung_up"})
    assert (await edge.refusal(ended.url)).status_code == 403
    nobody = await house.answer("c-2")
    worker.refuse_with = 503
    refused = await edge.refusal(nobody.url)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    worker.refuse_with = 403
    assert (await edge.refusal(nobody.url)).status_code == 403, "a worker's own no is not asked about again"


async def test_a_gateway_that_is_gone_is_passed_over(house: House, start_edge: Callable[..., Any]) -> None:
    worker = await house.start_worker()
    edge = await start_edge(house, dead_gateway=True)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{edge.port}") as http:
        for number in range(4):
            answered = await http.post("/webhook/answer", json={"call_uuid": f"c-{number}"})
            assert answered.status_code == 200
            async with edge.connect(answered.json()["stream"]["url"]):
                await until(lambda n=number: len(worker.streams) == n + 1)
        assert (await http.get("/route", headers={"X-Original-URI": "/ws/x"})).status_code == 404
        assert (await http.get("/_route")).status_code == 404, "nobody from outside asks where a stream goes"


async def test_no_token_and_no_secret_is_in_a_log(
    open_house: Callable[..., Any], start_edge: Callable[..., Any]
) -> None:
    house = await open_house(webhook_secrets="a-webhook-secret")
    worker = await house.start_worker()
    edge = await start_edge(house)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{edge.port}") as http:
        answered = await http.post("/webhook/a-webhook-secret/answer", json={"call_uuid": "c-1"})
        await http.post("/webhook/a-webhook-secret/hangup", content=b"x" * 70_000)
    url = answered.json()["stream"]["url"]
    async with edge.connect(url):
        await until(lambda: worker.streams)
    await kill(worker)
    await edge.refusal(url)
    logs = "".join(path.read_text() for path in (edge.folder / "nginx").glob("*.*") if path.name != "nginx.conf")
    assert '"event":"answer"' in logs
    assert '"event":"stream","status":101' in logs
    assert url.rpartition("/")[2] not in logs
    assert "a-webhook-secret" not in logs


async def test_a_reload_cuts_no_stream(house: House, start_edge: Callable[..., Any]) -> None:
    worker = await house.start_worker(capacity=30)
    edge = await start_edge(house)
    async with edge.connect((await house.answer("c-1")).url) as before:
        await until(lambda: worker.streams)
        edge.process.send_signal(1)
        async with asyncio.timeout(5):  # the new workers of nginx take what comes
            for number in range(20):
                async with edge.connect((await house.answer(f"d-{number}")).url):
                    await before.send("still here")
                await asyncio.sleep(0.02)
        await until(lambda: worker.streams[0].received == ["still here"] * 20)
