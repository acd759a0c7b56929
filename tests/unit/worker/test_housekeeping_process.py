"""Housekeeping as real processes on a real Redis: jobs run, losses of Redis are lived through, signals end it."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from shared.calls.outcome import Reason
from shared.calls.state import CallEvent
from shared.registry import RedisRegistry
from shared.registry.endings import end_call
from tests.redis_server import RedisServer, free_port

COMMAND = [sys.executable, "-m", "worker.housekeeping"]


class Running:
    """One housekeeping process, its port and its log."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    async def get(self, path: str) -> tuple[int, str]:
        def ask() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()
            except OSError:
                return 0, ""

        return await asyncio.to_thread(ask)

    async def is_ready(self) -> bool:
        return (await self.get("/readyz"))[0] == 200

    async def count(self, name: str) -> float:
        _, text = await self.get("/metrics")
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    def lines(self, event: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[[str], Awaitable[Running]]]:
    started: list[Running] = []

    async def start(url: str) -> Running:
        port, log = free_port(), tmp_path / f"housekeeping-{len(started)}.log"
        environment = {
            **os.environ,
            "REDIS_URL": url,
            "SFVOPI_HOUSEKEEPING_PORT": str(port),
            "SFVOPI_HEARTBEAT_S": "0.2",
            "SFVOPI_LEASE_S": "1",
        }
        with log.open("wb") as sink:
            process = await asyncio.create_subprocess_exec(*COMMAND, env=environment, stderr=sink, stdout=sink)
        started.append(Running(process, port, log))
        return started[-1]

    yield start
    for running in started:
        if running.process.returncode is None:
            running.process.kill()
        await running.process.wait()


async def until(condition: Callable[[], Awaitable[bool]], deadline_s: float = 20) -> None:
    async with asyncio.timeout(deadline_s):
        while not await condition():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", ["url", "unix_url"])
async def test_two_processes_close_each_record_and_end_on_sigterm(
    server: RedisServer, start: Callable[[str], Awaitable[Running]], kind: str
) -> None:
    url = getattr(server, kind)
    both = [await start(url), await start(url)]
    registry = RedisRegistry.connect(url, command_timeout_s=5, connect_timeout_s=5)
    for running in both:
        await until(running.is_ready)
    for n in range(20):
        await registry.move(f"c{n}", CallEvent.ANSWER, {"from_number": "+919812345678"})
        await end_call(registry, f"c{n}", Reason.BOT_ENDED)

    async def all_closed() -> bool:
        return all(record.closed_at_ms for record in await registry.recent_calls())

    await until(all_closed)
    assert await registry.outbox() == []
    assert sum([await running.count("sfvopi_records_closed_total") for running in both]) >= 20
    assert {line["call_id"] for running in both for line in running.lines("call ended")} == {f"c{n}" for n in range(20)}
    assert not any("98123456" in running.log.read_text() for running in both)
    client = Redis.from_url(url)
    names = [name async for name in client.scan_iter("arq:*")]
    assert names
    for name in names:
        assert await client.pttl(name) != -1  # -2: gone already
        if name.startswith((b"arq:job:", b"arq:result:")):
            assert (await client.get(name) or b"{").startswith(b"{")  # JSON, not pickle
    await client.aclose()

    for running in both:
        running.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await running.process.wait() == 0
    await registry.close()


async def test_a_lost_redis_is_lived_through_and_said_once(
    server: RedisServer, start: Callable[[str], Awaitable[Running]]
) -> None:
    running = await start(server.url)
    await until(running.is_ready)
    server.stop()

    async def is_away() -> bool:
        status, text = await running.get("/readyz")
        return status == 503 and json.loads(text)["readiness"] == "registry_away"

    await until(is_away)
    assert (await running.get("/healthz"))[0] == 200
    began = time.monotonic()
    while time.monotonic() - began < 1.5:  # several beats and attempts, none of them worth a line
        assert running.process.returncode is None
        await asyncio.sleep(0.1)
    server.start()
    await until(running.is_ready)
    registry = RedisRegistry.connect(server.url, command_timeout_s=5, connect_timeout_s=5)
    await end_call(registry, "c", Reason.BOT_ENDED)

    async def is_closed() -> bool:
        record = await registry.get("c")
        return record is not None and record.closed_at_ms > 0

    await until(is_closed)
    assert len(running.lines("registry is away")) == 1
    assert len(running.lines("schedule lost Redis, trying again")) == 1
    await registry.close()


async def test_it_starts_without_redis_and_waits_for_it(
    tmp_path: Path, start: Callable[[str], Awaitable[Running]]
) -> None:
    server = RedisServer(tmp_path)
    running = await start(server.url)

    async def is_alive() -> bool:
        return (await running.get("/healthz"))[0] == 200

    await until(is_alive)
    assert not await running.is_ready()
    server.start()
    try:
        await until(running.is_ready)
        running.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(5):
            assert await running.process.wait() == 0
    finally:
        server.stop()


async def ask(*arguments: str, **environment: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_a_port_that_is_taken_ends_it_with_status_2_and_a_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, text = await ask(SFVOPI_HOUSEKEEPING_PORT=str(taken.getsockname()[1]))
    assert status == 2
    assert text.splitlines()[-1].startswith("error: SFVOPI_HOUSEKEEPING_PORT: cannot listen on 127.0.0.1:")


async def test_it_tells_its_version_and_its_settings() -> None:
    status, text = await ask("--version")
    assert (status, text.split()[:2]) == (0, ["sfvopi-fleet", "housekeeping"])
    status, text = await ask("--help")
    assert status == 0
    assert "SFVOPI_HOUSEKEEPING_PORT" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "http://:hush@localhost"),
        ("REDIS_URL", "redis+sentinel://:hush@localhost:26379"),
        ("SFVOPI_RETENTION_S", str(90 * 86400)),
        ("SFVOPI_HOUSEKEEPING_PROT", "9200"),
        ("SFVOPI_POD_COSTS_S", "10"),
    ],
)
async def test_settings_that_cannot_be_used_end_it_with_status_2_and_a_reason(name: str, value: str) -> None:
    status, text = await ask(**{name: value})
    assert status == 2
    assert text.startswith(f"error: {name}")
    assert "hush" not in text
    assert "Traceback" not in text
