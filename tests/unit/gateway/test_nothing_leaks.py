"""After strangers and broken peers: no socket, no task, no leg left behind."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.redis_server import free_port

PLAY = '{"event":"playAudio","media":{"payload":"%s","contentType":"audio/PCMA","sampleRate":8000}}'


def open_files() -> int:
    return len(list(Path(f"/proc/{os.getpid()}/fd").iterdir()))


async def test_bad_streams_of_every_kind_leave_nothing(house: Any) -> None:
    worker = await house.start_worker(capacity=200)
    assert (await house.http.get("/")).status_code == 404  # the client's own connection is up from here on
    files, tasks = open_files(), len(asyncio.all_tasks())

    async def live(n: int) -> Any:
        return await house.connect((await house.answer(f"c-{n}")).url)

    for n in range(35):
        with contextlib.suppress(websockets.WebSocketException, OSError):
            match n % 7:
                case 0:  # forged
                    await house.connect(f"ws://127.0.0.1:{house.public.port}/ws/forged.{n}")
                case 1:  # vanishes
                    (await live(n)).transport.abort()
                case 2:  # too large
                    stream = await live(n)
                    await stream.send("x" * 200_000)
                    await stream.recv()
                case 3:  # closed by the worker
                    stream = await live(n)
                    await worker.streams[-1].close(1008)
                    await stream.recv()
                case 4:  # no WebSocket at all
                    _, writer = await asyncio.open_connection("127.0.0.1", house.public.port)
                    writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
                    writer.close()
                case 5:  # refused by the worker
                    worker.refuse_with = 503
                    try:
                        await live(n)
                    finally:
                        worker.refuse_with = None
                case 6:  # its worker fails, and it goes on
                    stream = await live(n)
                    streams = len(worker.streams)
                    await worker.streams[-1].close(1011)
                    await house.until(lambda streams=streams: len(worker.streams) > streams)
                    await stream.close()
    await house.until(lambda: house.gateway.streams.open_legs == 0, 10)
    await house.until(lambda: house.public.open_connections <= 1, 10)
    await house.until(lambda: len(asyncio.all_tasks()) <= tasks, 10)
    await house.until(lambda: open_files() <= files, 10)


async def test_a_carrier_that_reads_nothing_cannot_keep_its_socket_after_the_end(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.process.server.CLOSE_DEADLINE_S", 0.2)
    worker = await house.start_worker()
    stream = await house.connect((await house.answer("c-1")).url)
    stream.transport.pause_reading()
    for _ in range(3):
        for _ in range(2000):
            await worker.streams[0].send(PLAY % ("x" * 216))
        await asyncio.sleep(0.1)
    await worker.streams[0].close(1000)
    await house.until(lambda: house.gateway.streams.open_legs == 0, 10)
    await house.until(lambda: house.public.open_connections <= 1, 10)
    stream.transport.abort()


async def test_a_worker_address_where_nobody_listens_leaves_nothing(house: Any) -> None:
    worker = await house.start_worker()
    url = (await house.answer("c-1")).url
    worker.server.port = free_port()
    await worker.beat(10)
    files = open_files()
    for _ in range(5):
        assert await house.status_of(url) == 503
    await house.until(lambda: open_files() <= files)
