"""`sfvopi demo`, as a user runs it: real speech, real recognition, and the figures that it promises."""

import audioop
import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from shared.carrier.plan import CallPlan
from shared.tokens import StreamToken
from tests.fleet.words import error_rate
from worker.pipeline.offline.whisper import recognise

pytestmark = [pytest.mark.fleet, pytest.mark.speech, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("demo")
    run = subprocess.run(
        [Path(sys.executable).with_name("sfvopi"), "demo", "--json", "--logs", folder / "logs"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=220,
    )
    assert run.returncode == 0, run.stderr
    return {**json.loads(run.stdout.splitlines()[-1]), "logs": folder / "logs"}


def test_the_demo_completes_and_the_bot_ends_it(demo: dict) -> None:
    assert (demo["outcome"], demo["frames_wrong_format"]) == ("completed", 0)
    assert demo["errors"] == []
    assert demo["ended_by"] == "bot"
    assert demo["close_code"] == 1000


def test_the_bot_hears_what_the_caller_says(demo: dict) -> None:
    turns = [turn for turn in demo["turns"] if turn["caller"]]
    assert len(turns) >= 3
    rate = error_rate([turn["caller"] for turn in turns], [turn["heard_by_bot"] for turn in turns])
    assert rate <= 0.10, turns


def test_the_caller_hears_what_the_bot_says(demo: dict) -> None:
    """The caller's ear is the recording's right channel; what was cut off by the interruption is left out."""
    with wave.open(demo["recording"]) as reader:
        assert (reader.getnchannels(), reader.getframerate()) == (2, 8000)
        frames = reader.readframes(reader.getnframes())
    pieces = utterances(audioop.tomono(frames, 2, 0, 1))
    said = [turn["bot"] for turn in demo["turns"]]
    assert len(pieces) == len(said)
    interruptions = [i for i, turn in enumerate(demo["turns"]) if turn["caller"] in interrupting(demo)]
    whole = [i for i in range(len(said)) if i + 1 not in interruptions]
    heard = [recognise(None, pieces[i], 8000) for i in whole]
    assert error_rate([said[i] for i in whole], heard) <= 0.10, (said, heard)


def interrupting(demo: dict) -> list[str]:
    return [turn["text"] for turn in demo["caller_turns"] if turn["is_interruption"]]


def test_first_audio_interruption_and_smoothness_are_as_promised(demo: dict) -> None:
    assert demo["first_audio_ms"] <= 1000
    assert demo["barge_in_ms"], "nobody interrupted"
    assert max(demo["barge_in_ms"]) <= 600
    assert demo["underruns"] == 0
    assert "greeting_complete" in demo["checkpoints"]
    assert any(turn.get("key") for turn in demo["turns"])


def test_no_log_holds_what_was_said_a_number_or_a_token(demo: dict) -> None:
    logs = {path.name: path.read_text() for path in demo["logs"].iterdir()}
    assert {"gateway.jsonl", "worker-1.jsonl", "worker-2.jsonl", "housekeeping.jsonl"} <= set(logs)
    said = [text for turn in demo["turns"] for text in (turn["caller"], turn["heard_by_bot"], turn["bot"]) if text]
    plan = CallPlan()
    secrets = [*said, plan.from_number, plan.to_number, f"{StreamToken.__name__}(", "/ws/W"]
    assert not [(name, text) for name, log in logs.items() for text in secrets if text.lower() in log.lower()]


def utterances(pcm: bytes, silence_s: float = 0.7) -> list[bytes]:
    """The pieces between silences of at least `silence_s`, each with a little silence around it."""
    window = 8000 // 50 * 2
    loud = [audioop.rms(pcm[at : at + window], 2) > 100 for at in range(0, len(pcm), window)]
    edges = [i for i, is_loud in enumerate(loud) if is_loud]
    pieces: list[list[int]] = []
    for i in edges:
        if pieces and (i - pieces[-1][1]) / 50 < silence_s:
            pieces[-1][1] = i
        else:
            pieces.append([i, i])
    return [pcm[max(0, first - 10) * window : (last + 10) * window] for first, last in pieces]
