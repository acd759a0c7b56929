"""How a real worker process leaves under calls: what each signal does to them, and how soon it is gone."""

import asyncio
import json
import os
import signal
import sys
import time

import pytest
import websockets

from shared.calls.state import CallEvent
from shared.fleet.worker import Order, WorkerRecord, WorkerState
from shared.registry import open_registry
from shared.sfvopi.formats import AudioFormat
from shared.tokens import StreamToken, sign_token
from tests.conftest import empty

SECRET = "a secret for tests"
ID = "worker-that-leaves"
BOT = """
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.workers.runner import WorkerRunner

from worker.pipeline.transport import SFVoPITransport


async def bot(runner_args):
    transport = SFVoPITransport.for_call(runner_args)
    pipeline = PipelineWorker(Pipeline([transport.input(), transport.output()]), enable_rtvi=False)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(pipeline)
    await runner.run()
"""


class Running:
    """The process, its registry, and the streams of its calls."""

    def __init__(self, process, registry):
        self.process = process
        self.registry = registry
        self.record = None
        self.streams = {}

    async def serving(self):
        async with asyncio.timeout(60):
            while True:
                views = {view.record.worker_id: view.record for view in await self.registry.workers()}
                if ID in views and views[ID].state == "serving":
                    self.record = views[ID]
                    return
                await asyncio.sleep(0.05)

    async def talk(self, call_id, **headers):
        await self.registry.reserve(call_id, 60_000)
        await self.registry.move(call_id, CallEvent.ANSWER, {"worker_id": ID, "bot": "a_bot:bot"})
        later = self.registry.now_ms() + 60_000
        token = sign_token(StreamToken(call_id, ID, AudioFormat(), later, later), SECRET)
        given = {"X-Call-UUID": call_id, **headers}
        url = f"ws://{self.record.address}/ws/{token}"
        stream = self.streams[call_id] = await websockets.connect(url, proxy=None, additional_headers=given)
        await stream.send('{"event": "start", "streamId": "S1", "callId": "C1"}')
        async with asyncio.timeout(30):  # the first call's imports
            while (await self.registry.get(call_id)).stream_id != "S1":
                await asyncio.sleep(0.05)

    async def other_worker(self):
        await self.registry.heartbeat(WorkerRecord("other", "127.0.0.1:1", WorkerState.SERVING, 5), [], 60_000)

    async def is_draining(self):
        async with asyncio.timeout(10):
            while (ID, "draining") not in [(v.record.worker_id, v.record.state) for v in await self.registry.workers()]:
                await asyncio.sleep(0.02)

    async def ends(self, within_s):
        """Its log, and how long it took."""
        began = time.monotonic()
        log, _ = await asyncio.wait_for(self.process.communicate(), within_s)
        return [json.loads(line) for line in log.splitlines() if line.startswith(b"{")], time.monotonic() - began


@pytest.fixture
async def running(tmp_path, redis_url):
    await empty(redis_url)
    (tmp_path / "a_bot.py").write_text(BOT)
    env = {
        "PATH": os.environ["PATH"],
        "REDIS_URL": redis_url,
        "SFVOPI_TOKEN_SECRETS": SECRET,
        "SFVOPI_BOT": "a_bot:bot",
        "SFVOPI_WORKER_ID": ID,
        "SFVOPI_REHEARSE": "off",
        "SFVOPI_LAG_LIMIT_MS": "0",
        "SFVOPI_RECONNECT_WINDOW_S": "0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker", cwd=tmp_path, env=env, stdout=-1, stderr=asyncio.subprocess.STDOUT
    )
    registry = open_registry(redis_url)
    running = Running(process, registry)
    try:
        await running.serving()
        yield running
    finally:
        for stream in running.streams.values():
            stream.transport.abort()
        if process.returncode is None:
            process.kill()
            await process.wait()
        await registry.close()


async def test_it_drains_and_is_gone_two_seconds_after_its_last_call(running):
    await running.talk("c-1")
    running.process.send_signal(signal.SIGTERM)
    await running.is_draining()
    assert await running.registry.reserve("c-2", 1_000) is None
    assert running.process.returncode is None
    await running.streams["c-1"].close()
    async with asyncio.timeout(10):
        while not (call := await running.registry.get("c-1")).is_over:
            await asyncio.sleep(0.01)
    _, took_s = await running.ends(10)
    assert call.reason == "stream_closed"
    assert took_s < 2
    assert await running.registry.workers() == []


async def test_a_second_term_hands_over_what_can_be_and_cuts_and_names_the_rest(running):
    await running.talk("c-relayed", **{"X-Sfvopi-Path": "relayed"})
    await running.talk("c-direct")
    await running.other_worker()
    running.process.send_signal(signal.SIGTERM)
    await running.is_draining()
    running.process.send_signal(signal.SIGTERM)
    log, took_s = await running.ends(20)
    assert took_s < 10
    moved, cut = await running.registry.get("c-relayed"), await running.registry.get("c-direct")
    assert (moved.state, moved.worker_id, moved.reason) == ("detached", "other", "")
    assert (cut.state, cut.reason) == ("ended", "shutdown")
    assert [line["call_ids"] for line in log if line["event"] == "calls cut off"] == [["c-direct"]]
    assert running.process.returncode == 0


async def test_an_interrupt_ends_all_calls_now(running):
    await running.talk("c-relayed", **{"X-Sfvopi-Path": "relayed"})
    await running.other_worker()
    running.process.send_signal(signal.SIGINT)
    log, _ = await running.ends(20)
    call = await running.registry.get("c-relayed")
    assert (call.state, call.reason) == ("ended", "shutdown")
    assert [line["call_ids"] for line in log if line["event"] == "calls cut off"] == [["c-relayed"]]


async def test_an_order_to_hand_over_is_obeyed_without_a_signal(running):
    await running.talk("c-relayed", **{"X-Sfvopi-Path": "relayed"})
    await running.other_worker()
    await running.registry.give_order(running.record, Order.HAND_OVER)
    _, took_s = await running.ends(20)
    assert took_s < 10
    moved = await running.registry.get("c-relayed")
    assert (moved.state, moved.worker_id) == ("detached", "other")
    assert [view.record.worker_id for view in await running.registry.workers()] == ["other"]
