"""The server of docs/bots.md with the serializer alone, called by the simulated carrier."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from shared.carrier.call import place_call
from shared.carrier.plan import CallPlan, HangUp, WaitForBot
from shared.carrier.report import CallOutcome
from tests.documents import python_block
from tests.fakes.providers import FakeProviders


@contextlib.asynccontextmanager
async def serving(app: Any, listener: socket.socket) -> AsyncIterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="websockets-sansio"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(5):
            while not server.started:
                await asyncio.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        await task


async def test_a_reader_who_copies_it_hears_the_greeting(monkeypatch: pytest.MonkeyPatch) -> None:
    code = python_block("bots.md", "app = FastAPI()")
    async with FakeProviders(tts_s=0.05) as fakes:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            monkeypatch.setenv("CARTESIA_API_KEY", "a key")
            for there, here in {
                "wss://bots.example.com/ws": f"ws://127.0.0.1:{port}/ws",
                "    tts = CartesiaTTSService(\n": f"    tts = CartesiaTTSService(url={fakes.env['CARTESIA_URL']!r},\n",
            }.items():
                assert code.count(there) == 1
                code = code.replace(there, here)
            module: dict[str, Any] = {}
            exec(compile(code, "server.py", "exec"), module)
            async with serving(module["app"], listener):
                plan = CallPlan(
                    answer_url=f"http://127.0.0.1:{port}/answer",
                    steps=(WaitForBot(quiet_s=0.4, limit_s=8), HangUp()),
                    max_s=20,
                )
                report = await place_call(plan)
    assert report.outcome is CallOutcome.COMPLETED, report
    assert report.errors == []
    assert report.heard_s == pytest.approx(1.8, abs=0.2)
    assert (report.frames_wrong_format, report.frames_dropped) == (0, 0)
