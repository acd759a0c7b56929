"""A real worker process with a bot of the test's, called over real sockets."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import websockets

from shared.calls.state import CallEvent
from shared.fleet.death import DeathNote
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.process.watchdog import guarded
from shared.registry import Registry, open_registry
from shared.sfvopi.formats import AudioFormat
from shared.tokens import StreamToken, sign_token
from tests.conftest import empty

SECRET = "a secret for tests"
ID = "worker-with-a-bot"  # another one than other tests have: what it leaves in Redis is not theirs
CALM = """
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.workers.runner import WorkerRunner

from worker.pipeline.transport import SFVoPITransport


async def run(runner_args, runner=None, does=None):
    transport = SFVoPITransport.for_call(runner_args)
    pipeline = PipelineWorker(Pipeline([transport.input(), transport.output()]), enable_rtvi=False)
    if does is not None:
        @transport.event_handler("on_client_connected")
        async def connected(transport, stream):
            await does()
    runner = runner or WorkerRunner(handle_sigint=False)
    await runner.add_workers(pipeline)
    await runner.run()


async def bot(runner_args):
    await run(runner_args)
"""


class RunningWorker:
    """The process, its registry, and the streams of its calls."""

    def __init__(self, process: asyncio.subprocess.Process, registry: Registry, log: Path) -> None:
        self.process = process
        self.registry = registry
        self.record = WorkerRecord(ID, "", WorkerState.STARTING, 0)
        self.streams: dict[str, Any] = {}
        self._log = log

    async def serving(self, within_s: float = 60) -> None:
        async with asyncio.timeout(within_s):
            while True:
                views = {view.record.worker_id: view.record for view in await self.registry.workers()}
                if ID in views and views[ID].state == "serving":
                    self.record = views[ID]
                    return
                await asyncio.sleep(0.05)

    @property
    def pid(self) -> int:
        """Of the process that works."""
        return guarded(self.process.pid, "worker.process")

    async def talk(self, call_id: str, bot: str = "calm:bot", **headers: str) -> Any:
        """A call that has started."""
        await self.registry.reserve(call_id, 60_000)
        await self.registry.move(call_id, CallEvent.ANSWER, {"worker_id": ID, "bot": bot})
        later = self.registry.now_ms() + 60_000
        token = sign_token(StreamToken(call_id, ID, AudioFormat(), later, later), SECRET)
        given = {"X-Call-UUID": call_id, **headers}
        url = f"ws://{self.record.address}/ws/{token}"
        stream = self.streams[call_id] = await websockets.connect(url, proxy=None, additional_headers=given)
        await stream.send('{"event": "start", "streamId": "S1", "callId": "C1"}')
        return stream

    async def started(self, call_id: str) -> None:
        async with asyncio.timeout(30):  # the first call's imports
            while True:
                call = await self.registry.get(call_id)
                if call is not None and call.stream_id == "S1":
                    return
                await asyncio.sleep(0.05)

    async def ended(self, call_id: str, within_s: float = 20) -> Any:
        """The call's record, when it is over."""
        async with asyncio.timeout(within_s):
            while (call := await self.registry.get(call_id)) is None or not call.is_over:
                await asyncio.sleep(0.05)
        return call

    async def is_draining(self) -> None:
        async with asyncio.timeout(10):
            while (ID, "draining") not in [(v.record.worker_id, v.record.state) for v in await self.registry.workers()]:
                await asyncio.sleep(0.02)

    async def other_worker(self) -> None:
        await self.registry.heartbeat(WorkerRecord("other", "127.0.0.1:1", WorkerState.SERVING, 5), [], 60_000)

    async def dies(self, within_s: float = 20) -> DeathNote | None:
        """The note of its death."""
        await asyncio.wait_for(self.process.wait(), within_s)
        return (await self.registry.death_notes([self.record.seat])).get(self.record.seat)

    async def ends(self, within_s: float) -> tuple[list[dict[str, Any]], float]:
        """Its log, and how long it took."""
        began = time.monotonic()
        await asyncio.wait_for(self.process.wait(), within_s)
        return self.log(), time.monotonic() - began

    def log(self) -> list[dict[str, Any]]:
        """The lines of its log until now, as their fields."""
        return [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]

    def text(self) -> str:
        return self._log.read_text()


@contextlib.asynccontextmanager
async def worker_process(
    folder: Path, redis_url: str, bots: dict[str, str], is_ready: bool = True, **settings: str
) -> AsyncIterator[RunningWorker]:
    """A worker with these modules in its folder, when it serves (or at once). Redis is emptied before."""
    await empty(redis_url)
    for name, text in {"calm": CALM, **bots}.items():
        (folder / f"{name}.py").write_text(text)
    env = {
        "PATH": os.environ["PATH"],
        "REDIS_URL": redis_url,
        "SFVOPI_TOKEN_SECRETS": SECRET,
        "SFVOPI_BOT": "calm:bot",
        "SFVOPI_WORKER_ID": ID,
        "SFVOPI_REHEARSE": "off",
        "SFVOPI_LAG_LIMIT_MS": "0",
        "SFVOPI_RECONNECT_WINDOW_S": "0",
        **settings,
    }
    log = folder / "worker.log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "worker", cwd=folder, env=env, stdout=file, stderr=file
        )
    registry = open_registry(redis_url)
    running = RunningWorker(process, registry, log)
    try:
        if is_ready:
            await running.serving()
        yield running
    finally:
        for stream in running.streams.values():
            stream.transport.abort()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            await process.wait()
        await registry.close()
