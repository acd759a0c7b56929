import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.carrier.plan import HangUp, InterruptAfter, Press, Say, Wait, WaitForBot
from shared.carrier.report import redact_url
from shared.cli.call import beside, plan_steps
from shared.cli.reach import RunFile

ROOT = Path(__file__).parents[3]
RUN = (sys.executable, "-W", "ignore", "-m", "shared.cli.call")


async def run(*args: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(*RUN, *args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_json_is_one_object_on_stdout_and_the_status_is_zero(server):
    status, out, err = await run(server.hook("answer"), "--silence", "--hangup-after", "1", "--json")

    report = json.loads(out)
    assert (status, report["outcome"]) == (0, "completed")
    wanted = "outcome answer_ms first_audio_ms barge_in_ms underruns frames_sent frames_received heard_s checkpoints"
    assert set(wanted.split()) | {"errors"} <= report.keys()
    assert "bot" in err
    assert [name for name, _ in server.webhooks] == ["answer", "hangup"]


async def test_a_call_that_does_not_complete_ends_with_status_1(server):
    status, out, _ = await run("http://127.0.0.1:9/answer", "--silence", "--json")
    assert (status, json.loads(out)["outcome"]) == (1, "failed")


async def test_without_a_url_it_calls_the_fleet_of_this_folder(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    status, _, err = await run("--silence")
    assert status == 2
    assert "no fleet is up in this folder" in err

    RunFile(os.getpid(), "http://127.0.0.1:9", "", server.hook("answer")).write()
    status, out, _ = await run("--silence", "--hangup-after", "1", "--json")
    assert (status, json.loads(out)["outcome"]) == (0, "completed")


async def test_a_wrong_option_is_explained(server):
    status, _, err = await run(server.hook("answer"), "--dtmf", "x")
    assert status == 2
    assert "there is no key 'X'" in err


async def test_people_get_a_table(server):
    status, out, err = await run(server.hook("answer"), "--silence", "--hangup-after", "1", "--no-hangup")
    assert status == 0
    assert "was completed" in out
    assert "first audio" in out
    assert "answers in" in err
    assert server.received("hangup") == []


def test_sayings_wait_for_answers_and_keys_come_after():
    steps = plan_steps(["a", "b"], [], "1#", None, 1.0, 20.0)
    assert [type(step) for step in steps] == [
        *(WaitForBot, Say, WaitForBot, Say, WaitForBot, Press, Wait, Press),
        *(WaitForBot, Wait, HangUp),
    ]


def test_later_sayings_interrupt_and_an_only_one_interrupts_the_greeting():
    steps = plan_steps(["a", "b"], [], "", 1.5, 1.0, 20.0)
    assert [type(step) for step in steps[:4]] == [WaitForBot, Say, InterruptAfter, Say]
    assert plan_steps(["a"], [], "", 1.5, 1.0, 20.0)[0] == InterruptAfter(1.5, 20.0)


@pytest.mark.parametrize(
    ("url", "fallback"),
    [
        ("http://h/webhook/answer", "http://h/webhook/fallback"),
        ("http://h/webhook/s3cret/answer/?x=1", "http://h/webhook/s3cret/fallback?x=1"),
        ("http://h/voice", ""),
    ],
)
def test_the_other_urls_stand_beside_the_answer_url(url, fallback):
    assert beside(url, "fallback") == fallback


def test_urls_are_reported_without_tokens():
    assert redact_url("wss://u:p@h:1/ws/abcdefghijklmnopqrst?key=1") == "wss://h:1/ws/abcd…"
