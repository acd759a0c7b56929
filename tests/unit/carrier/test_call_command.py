import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shared.carrier.plan import HangUp, InterruptAfter, Press, Say, Wait, WaitForBot
from shared.carrier.report import redact_url
from shared.cli import expectations
from shared.cli.call import beside, plan_steps
from shared.cli.main import app
from shared.cli.reach import RunFile
from tests.unit.carrier.fleet_api import call, fleet_api

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


# What cannot be used is said before anything is placed. The last item: a part of the sentence.
UNUSABLE = [
    ("localhost:3000", "did you mean http://localhost:3000"),
    ("ftp://h/answer", "begins with none of http://, https://, ws://, wss://"),
    ("http:///answer", "names no host"),
    ("http://h:port/answer", "is no URL"),
    ("ws://bots.example.com/ws", "is ws:// and not on loopback"),
    ("ws://127.0.0.1:9/ws", "--codec", "MP3", "MP3 is none of PCMA, PCMU, L16"),
    ("ws://127.0.0.1:9/ws", "--sample-rate", "16000", "--sample-rate needs --codec"),
    ("ws://127.0.0.1:9/ws", "--codec", "PCMA", "--sample-rate", "44100", "PCMA has no sample rate 44100"),
    ("http://127.0.0.1:9/answer", "--codec", "PCMA", "the answer decides"),
    ("http://127.0.0.1:9/answer", "--method", "PUT", "POST or GET"),
    ("http://127.0.0.1:9/answer", "--silence", "--say", "x", "--silence says nothing"),
    ("http://127.0.0.1:9/answer", "--record", "/no/such/folder/x.wav", "there is no such folder"),
    ("http://127.0.0.1:9/answer", "--hangup-url", "ws://127.0.0.1/x", "begins with none of http://, https://"),
    ("http://127.0.0.1:9/answer", "--expect", "?!", "has no word in it"),
    ("http://127.0.0.1:9/answer", "--hangup-after", "-1", "--hangup-after"),
]


@pytest.mark.parametrize("args", UNUSABLE, ids=[" ".join(args[:-1]) for args in UNUSABLE])
def test_what_no_carrier_can_use_is_a_usage_error(args):
    result = CliRunner().invoke(app, ["call", *args[:-1]])
    assert result.exit_code == 2
    assert args[-1] in " ".join(result.stderr.split())
    assert "Value error" not in result.stderr


def test_an_expectation_that_nobody_can_check_is_a_usage_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr(expectations, "can_recognise", lambda: False)
    result = CliRunner().invoke(app, ["call", "http://127.0.0.1:9/answer", "--expect", "hello"])
    assert result.exit_code == 2
    assert "SFVOPI_TRANSCRIPTS=on" in result.stderr
    assert "'sfvopi-fleet[worker,offline]'" in result.stderr


async def test_the_record_and_what_was_said_are_shown(server):
    said = ("bot_said", {"words": 1, "text": "Hello [/b]."})
    ended = ("ended", {"result": "failed", "reason": "bot_error"})
    with fleet_api(call("failed", "bot_error", "ValueError", said, ended)) as api:
        listen = (server.hook("answer"), "--silence", "--hangup-after", "1", "--api", api.url)
        status, out, _ = await run(*listen)
        assert status == 1
        assert "failed: bot_error" in out
        assert "Hello [/b]." in out
        status, out, _ = await run(*listen, "--json", "--expect", "hello")
    report = json.loads(out)
    assert (status, report["outcome"], report["record"]["detail"]) == (1, "failed", "ValueError")
    assert report["bot_said"][0]["text"] == "Hello [/b]."


async def test_text_of_a_server_is_never_read_as_markup_nor_as_codes_for_the_terminal(server):
    async def bot(stream):
        await stream.checkpoint("[/b] \x1b[2J \x9b31m")
        await stream.socket.send_text('{"event":"[red]","x":"\\u001b[31m"}')
        await stream.play(0.3)
        await stream.until(lambda s: len(s.of("playedStream")) == 1)
        await stream.socket.close(1011, "[/nothing] \x1b]0;title\x07")

    server.bot = bot
    status, out, err = await run(server.hook("answer"), "--silence", "--hangup-after", "5", "--reconnects", "0")
    assert status == 1
    assert "[/b] \\x1b[2J" in err
    assert "[/nothing]" in out
    assert "event '[red]'" in out
    assert not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 for c in out + err)


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
