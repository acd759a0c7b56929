"""A worker as a process of its own: starts, serves, drains, ends; and what it says when it cannot."""

import asyncio
import base64
import json
import os
import signal
import sys
import time

import httpx2
import pytest
import websockets

from shared.calls.state import CallEvent
from shared.registry import open_registry
from shared.sfvopi.formats import AudioFormat
from shared.tokens import StreamToken, sign_token


def environment(redis_url, **changes):
    given = {
        "PATH": os.environ["PATH"],
        "REDIS_URL": redis_url,
        "SFVOPI_TOKEN_SECRETS": "a secret",
        "SFVOPI_BOT": "a_bot:bot",
        "SFVOPI_REHEARSAL": "warn",
        "SFVOPI_WORKER_ID": "worker-under-test",
    }
    return {**given, **changes}


async def start(folder, env, *arguments):
    (folder / "a_bot.py").write_text("async def bot(runner_args):\n    raise RuntimeError('rehearsed')\n")
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker", *arguments, cwd=folder, env=env, stdout=-1, stderr=-1
    )


async def serving(redis_url, seconds=30):
    registry = open_registry(redis_url)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            for view in await registry.workers():
                if view.record.worker_id == "worker-under-test" and view.record.state == "serving":
                    return view.record
            await asyncio.sleep(0.05)
        raise AssertionError("no worker serves")
    finally:
        await registry.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_serves_and_ends_on_a_signal(tmp_path, redis_url, number):
    process = await start(tmp_path, environment(redis_url))
    try:
        record = await serving(redis_url)
        async with httpx2.AsyncClient(base_url=f"http://{record.address}", trust_env=False) as client:
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()["readiness"]) == (200, "ready")
            assert (await client.get("/sessions")).json() == {"sessions": []}
            assert "sfvopi_capacity_calls 10.0" in (await client.get("/metrics")).text
        process.send_signal(number)
        _, log = await asyncio.wait_for(process.communicate(), 15)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    assert b'"a bot failed its rehearsal"' in log
    registry = open_registry(redis_url)
    assert "worker-under-test" not in [view.record.worker_id for view in await registry.workers()]
    await registry.close()


async def test_a_call_through_the_process_hears_the_apology_and_its_log_tells_no_secrets(tmp_path, redis_url):
    process = await start(tmp_path, environment(redis_url, SFVOPI_REHEARSE="off"))
    registry = open_registry(redis_url)
    try:
        record = await serving(redis_url)
        await registry.reserve("call-1", 10_000)
        numbers = {"from_number": "+911234567890", "to_number": "+918000000001"}
        await registry.move("call-1", CallEvent.ANSWER, {"worker_id": record.worker_id, **numbers})
        later = registry.now_ms() + 60_000
        token = sign_token(StreamToken("call-1", record.worker_id, AudioFormat(), later, later), "a secret")
        async with websockets.connect(f"ws://{record.address}/ws/{token}", proxy=None) as stream:
            await stream.send('{"event": "start", "streamId": "S1", "callId": "C1"}')
            heard = [json.loads(text) async for text in stream]
        assert stream.close_code == 1000
        audio = [base64.b64decode(message["media"]["payload"]) for message in heard if message["event"] == "playAudio"]
        assert sum(map(len, audio)) > 3.6 * 8000
        async with asyncio.timeout(5):
            while "first_audio_ms" not in (call := await registry.get("call-1")).figures:  # they follow the end
                await asyncio.sleep(0.05)
        assert (call.reason, call.stream_id) == ("bot_error", "S1")
        assert call.figures["first_audio_ms"] < 1000
        process.terminate()
        _, log = await asyncio.wait_for(process.communicate(), 15)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await registry.close()
    lines = [json.loads(line) for line in log.splitlines()]
    raised = [line for line in lines if line["event"] == "the bot raised"]
    assert [(line["call_id"], line["process"]) for line in raised] == [("call-1", "worker-under-test")]
    assert token.encode() not in log
    assert b"1234567890" not in log


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"SFVOPI_TOKEN_SECRETS": ""}, b"SFVOPI_TOKEN_SECRETS is not set"),
        ({"SFVOPI_APOLOGY_WAV": "/nowhere.wav"}, b"SFVOPI_APOLOGY_WAV"),
        ({"REDIS_URL": "http://x"}, b"REDIS_URL"),
        ({"SFVOPI_WORKER_HOST": "192.0.2.1"}, b"SFVOPI_WORKER_PORT: cannot listen on 192.0.2.1:0"),
    ],
)
async def test_settings_that_cannot_be_used_end_it_with_status_2(tmp_path, redis_url, changes, says):
    process = await start(tmp_path, environment(redis_url, **changes))
    _, log = await process.communicate()
    assert process.returncode == 2
    assert b"error: " + says in log
    assert b"Traceback" not in log


async def test_it_says_its_version_without_importing_pipecat(tmp_path):
    process = await start(tmp_path, environment(""), "--version")
    out, log = await process.communicate()
    assert process.returncode == 0
    assert out.startswith(b"sfvopi-fleet worker ")
    assert not log
