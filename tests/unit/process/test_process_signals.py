"""Signals as a process gets them: real ones, sent to this very process."""

import asyncio
import json
import os
import signal

import pytest

from shared.process.signals import Signals
from shared.telemetry.logs import set_up_logs


async def test_the_first_term_drains_the_second_stops_and_the_third_cuts() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(signals.draining.wait(), 2)
        assert not signals.stopping.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(signals.stopping.wait(), 2)
        assert not signals.cutting.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(signals.cutting.wait(), 2)


async def test_an_interrupt_stops_at_once() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(signals.cutting.wait(), 2)
        assert signals.draining.is_set()
        assert signals.stopping.is_set()


async def test_usr1_puts_every_task_with_its_place_into_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    set_up_logs("test", "t1")
    task = asyncio.create_task(wait_for_ever(), name="the-stuck-one")
    await asyncio.sleep(0)
    with Signals():
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.sleep(0.05)
    task.cancel()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    [line] = [line for line in lines if line.get("name") == "the-stuck-one"]
    assert "wait_for_ever" in line["work"]
    assert "test_process_signals.py" in str(line["stands_at"])
