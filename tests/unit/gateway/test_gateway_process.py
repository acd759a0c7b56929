"""The gateway as a process: how it starts, what its signals do, how it leaves."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from gateway.serving import run
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.process.server import listen, serve
from shared.process.signals import Signals
from shared.registry import MemoryRegistry
from shared.settings import GatewaySettings, SettingsError

ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with listen("127.0.0.1", 0) as sock:
        return int(sock.getsockname()[1])


@dataclass
class Running:
    task: asyncio.Task[None]
    registry: MemoryRegistry
    http: httpx2.AsyncClient
    inner: httpx2.AsyncClient

    async def readiness(self) -> str:
        return str((await self.inner.get("/readyz")).json()["readiness"])

    async def busy_url(self, call_uuid: str) -> str:
        response = await self.http.post("/webhook/fallback", json={"call_uuid": call_uuid})
        return str(response.json()["stream"]["url"])


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    """`serving.run` in this process, with this process' real signals."""
    port, inner_port = free_port(), free_port()
    settings = GatewaySettings.read(
        public_wss_url=f"ws://127.0.0.1:{port}/ws", token_secrets="k", port=port, internal_port=inner_port
    )
    registry = MemoryRegistry()
    with Signals() as signals:
        task = asyncio.create_task(run(settings, registry, signals))
        async with (
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{inner_port}") as inner,
        ):
            process = Running(task, registry, http, inner)
            async with asyncio.timeout(5):
                while True:
                    try:
                        if await process.readiness() == "ready":
                            break
                    except httpx2.TransportError:
                        await asyncio.sleep(0.01)
            yield process
        signals.stop()
        await asyncio.wait_for(task, 5)


async def test_without_streams_a_term_ends_it_soon(running: Running) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running.task, 2)


async def test_a_term_is_not_ready_still_answers_and_waits_for_the_last_stream(running: Running) -> None:
    url = await running.busy_url("c-1")
    async with websockets.connect(url) as carrier:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(2):
            while await running.readiness() != "draining":
                await asyncio.sleep(0.01)
        assert (await running.inner.get("/readyz")).status_code == 503
        assert (await running.inner.get("/healthz")).status_code == 200
        assert await running.busy_url("c-2")
        await carrier.send("{}")
        await carrier.recv()
        assert not running.task.done()
    await asyncio.wait_for(running.task, 2)


async def test_a_second_signal_cuts_relayed_streams_with_going_away(running: Running) -> None:
    gone: list[int] = []

    async def take(websocket: Any) -> None:
        await websocket.accept()
        gone.append((await websocket.receive())["code"])

    worker = await serve(Starlette(routes=[WebSocketRoute("/ws/{token}", take)]), "127.0.0.1", 0)
    record = WorkerRecord("w1", f"127.0.0.1:{worker.port}", WorkerState.SERVING, 1)
    await running.registry.heartbeat(record, [], 60_000)
    answer = await running.http.post("/webhook/answer", json={"call_uuid": "c-1"})
    async with websockets.connect(answer.json()["stream"]["url"]) as carrier:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.2)
        assert not running.task.done()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await asyncio.wait_for(carrier.recv(), 2)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
    await asyncio.wait_for(running.task, 4)
    assert gone == [1001]
    await worker.stop()


async def test_an_interrupt_cuts_a_busy_message_with_going_away(running: Running) -> None:
    async with websockets.connect(await running.busy_url("c-1")) as carrier:
        await carrier.send("{}")
        await carrier.recv()
        os.kill(os.getpid(), signal.SIGINT)
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await asyncio.wait_for(carrier.recv(), 2)
        assert carrier.close_code == 1001
    await asyncio.wait_for(running.task, 2)


async def test_a_port_in_use_names_its_setting() -> None:
    with listen("127.0.0.1", 0) as taken:
        settings = GatewaySettings.read(
            public_wss_url="ws://127.0.0.1/ws", token_secrets="k", port=taken.getsockname()[1], internal_port=0
        )
        with pytest.raises(SettingsError, match="SFVOPI_GATEWAY_PORT: cannot listen"):
            await run(settings, MemoryRegistry(), Signals())


def gateway(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    keep = {
        name: value for name, value in os.environ.items() if not name.startswith(("SFVOPI_", "PUBLIC_WSS", "REDIS"))
    }
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env=keep | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


GOOD = {"PUBLIC_WSS_URL": "wss://x.example/ws", "SFVOPI_TOKEN_SECRETS": "k", "SFVOPI_WEBHOOK_SECRETS": "s"}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "PUBLIC_WSS_URL is not set"),
        ({**GOOD, "PUBLIC_WSS_URL": "http://x.example/ws"}, "must start with wss://"),
        ({**GOOD, "PUBLIC_WSS_URL": "ws://x.example/ws"}, "must start with wss://"),
        ({**GOOD, "SFVOPI_WEBHOOK_SECRETS": ""}, "SFVOPI_WEBHOOK_SECRETS is not set"),
        ({**GOOD, "SFVOPI_WEBHOOK_SECRETS": " , "}, "SFVOPI_WEBHOOK_SECRETS is not set"),
        ({**GOOD, "SFVOPI_COEDC": "PCMA"}, "did you mean SFVOPI_CODEC?"),
        ({**GOOD, "SFVOPI_CODEC": "OPUS"}, "is not one of PCMA"),
        ({**GOOD, "REDIS_URL": "http://x"}, "REDIS_URL"),
        ({**GOOD, "SFVOPI_BUSY_WAV": "/nowhere.wav"}, "SFVOPI_BUSY_WAV: cannot read"),
    ],
)
def test_settings_that_cannot_be_used_are_named_and_end_it_with_2(environment: dict[str, str], said: str) -> None:
    ended = gateway(**{"SFVOPI_GATEWAY_PORT": "0", "SFVOPI_GATEWAY_INTERNAL_PORT": "0"} | environment)
    assert said in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 2


def test_version_and_help() -> None:
    assert gateway("--version").stdout.startswith("sfvopi-fleet gateway ")
    helped = gateway("--help")
    assert helped.returncode == 0
    assert "examples:" in helped.stdout


def test_a_gateway_loads_neither_pipecat_nor_arq() -> None:
    code = (
        "import sys, gateway.__main__; "
        "print([n for n in sys.modules if n.split('.')[0] in ('pipecat', 'arq', 'fastapi', 'worker', 'loguru')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
