"""`roll.sh` with an engine that is a script: which containers stop, and which stay."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Roll = Callable[[str, str], tuple[subprocess.CompletedProcess[str], list[str]]]
ROLL = Path(__file__).parents[3] / "deploy" / "docker" / "roll.sh"
DOCKER = """#!/bin/sh
echo "$@" >> "$FAKE/log"
case "$1 $2" in
  "compose ps") cat "$FAKE/containers" ;;
  "compose up") echo new1 >> "$FAKE/containers"; echo new2 >> "$FAKE/containers" ;;
  "exec new1") cat "$FAKE/new1"; [ "$(cat "$FAKE/new1")" = ready ] ;;
  "exec new2") cat "$FAKE/new2"; [ "$(cat "$FAKE/new2")" = ready ] ;;
  "logs --tail") echo "the log of $4" ;;
esac
"""


@pytest.fixture
def roll(tmp_path: Path) -> Roll:
    """Run it over two old containers; what the new ones say is given."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "containers").write_text("old1\nold2\n")

    def run(new1: str, new2: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        (tmp_path / "new1").write_text(new1)
        (tmp_path / "new2").write_text(new2)
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "FAKE": str(tmp_path), "READY_WITHIN_S": "1"}
        done = subprocess.run(["sh", str(ROLL), "worker"], env=env, capture_output=True, text=True, timeout=30)
        log = (tmp_path / "log").read_text().splitlines()
        return done, [line for line in log if line.startswith(("stop", "rm"))]

    return run


def test_when_the_new_ones_are_ready_the_old_ones_go(roll: Roll) -> None:
    done, ended = roll("ready", "ready")
    assert done.returncode == 0, done.stderr
    assert ended == ["stop old1 old2", "rm old1 old2"]


def test_a_bot_that_failed_stops_it_at_once_and_the_old_ones_stay(roll: Roll) -> None:
    said = '{"readiness":"bot_failed","bot_failed":{"m:b":"m.py:7: NameError"}}'
    done, ended = roll(said, "starting")
    assert done.returncode == 1
    left = "what is left is what was there: the next roll begins where this one did; one that was ready ends its calls"
    assert ended == ["stop new1 new2", "rm new1 new2"], left
    assert "m.py:7: NameError" in done.stderr
    assert "the log of new1" in done.stderr


def test_one_that_is_not_ready_in_time_stops_it_too(roll: Roll) -> None:
    done, ended = roll("ready", '{"readiness":"starting"}')
    assert done.returncode == 1
    assert ended == ["stop new1 new2", "rm new1 new2"]
