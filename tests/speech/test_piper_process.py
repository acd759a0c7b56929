"""Piper is a process of its own: one for all, and gone with whoever started it, however that ended."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from pipecat.frames.frames import ErrorFrame, TTSAudioRawFrame, TTSSpeakFrame, TTSStoppedFrame

from shared.settings import SettingsError
from tests.fakes.pipelines import running
from worker.pipeline.offline.piper import PiperTTSService, synthesise
from worker.pipeline.offline.piper_server import _Running, piper_url, stop_piper


@pytest.fixture(autouse=True)
def no_piper_left() -> Iterator[None]:
    yield
    stop_piper()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.speech
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None], ids=["killed", "terminated", "ended"])
def test_piper_goes_with_the_worker_that_started_it(how: signal.Signals | None) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "worker.pipeline.offline.piper_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdin
        assert worker.stdout
        assert json.loads(worker.stdout.readline())["url"].startswith("http://127.0.0.1:")
        (keeper,) = children(worker.pid)
        (piper,) = children(keeper)
        assert lives(piper)
        if how is None:
            worker.stdin.close()
        else:
            os.kill(worker.pid, how)
        worker.wait(10)
        deadline = time.monotonic() + 5
        while lives(piper) or lives(keeper):
            assert time.monotonic() < deadline, "piper outlived its worker"
            time.sleep(0.02)


@pytest.mark.speech
async def test_all_who_ask_at_once_get_one_piper_and_a_dead_one_is_replaced() -> None:
    urls = await asyncio.gather(*(piper_url(None) for _ in range(4)))
    assert len(set(urls)) == 1
    (server,) = _Running.servers.values()
    server.stop()
    assert await piper_url(None) != urls[0]
    assert len(_Running.servers) == 1


@pytest.mark.speech
async def test_a_sentence_is_said_at_the_trunks_rate_without_losing_its_tail() -> None:
    async with running(PiperTTSService()) as pipeline:
        await pipeline.send(TTSSpeakFrame("Where are you located?"))
        await pipeline.until_seen(TTSStoppedFrame, deadline_s=30)
        spoken = b"".join(frame.audio for frame in pipeline.seen(TTSAudioRawFrame))
    at_22050 = await synthesise("", None, 22050, "Where are you located?")
    assert len(spoken) / 8000 == pytest.approx(len(at_22050) / 22050, rel=0.15)


async def test_a_voice_that_is_no_voice_says_why(tmp_path: Path) -> None:
    (tmp_path / "voice.onnx").write_bytes(b"no model")
    with pytest.raises(SettingsError, match="piper ended at its start: "):
        await piper_url(tmp_path / "voice.onnx")


@asynccontextmanager
async def piper_elsewhere(answer: Callable[[], Awaitable[web.Response]]) -> AsyncIterator[str]:
    async def synthesize(_: web.Request) -> web.Response:
        return await answer()

    app = web.Application()
    app.add_routes([web.post("/synthesize", synthesize)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def test_a_piper_elsewhere_that_fails_is_an_error_and_not_the_end() -> None:
    async def refuse() -> web.Response:
        return web.Response(status=500)

    async with piper_elsewhere(refuse) as url, running(PiperTTSService(url=url)) as pipeline:
        await pipeline.send(TTSSpeakFrame("Hello."))
        await pipeline.until(lambda: pipeline.seen_up(ErrorFrame))
        assert "500" in pipeline.seen_up(ErrorFrame)[0].error


async def test_a_voice_that_takes_longer_than_pipecat_waits_is_heard_all_the_same() -> None:
    """On a busy machine piper took over three seconds to start; its first sentence was given up, and a call silent."""

    async def dawdle() -> web.Response:
        await asyncio.sleep(3.2)
        file = io.BytesIO()
        with wave.open(file, "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(2)
            wav.setframerate(22050)
            wav.writeframes(bytes(2 * 22050))
        return web.Response(body=file.getvalue())

    async with piper_elsewhere(dawdle) as url, running(PiperTTSService(url=url)) as pipeline:
        await pipeline.send(TTSSpeakFrame("Hello."))
        await pipeline.until_seen(TTSStoppedFrame)
        assert sum(len(frame.audio) for frame in pipeline.seen(TTSAudioRawFrame)) == 16000
