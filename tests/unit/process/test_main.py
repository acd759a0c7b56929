"""What all processes have in common: what they say of themselves, and how they end when they cannot begin."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from shared.process.main import Program, process_id, run_process
from shared.process.signals import Signals
from shared.settings import FleetSettings, SettingsError


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


async def until_told(settings: FleetSettings, signals: Signals) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(signals.draining.wait(), 5)


async def cannot(settings: FleetSettings, signals: Signals) -> None:
    raise SettingsError("SFVOPI_ONE: wrong\nSFVOPI_OTHER: wrong too")


def program(work: object) -> Program[FleetSettings]:
    return Program("house.keeper", "Keeps it.", "examples:\n  python -m house.keeper", FleetSettings, work)  # type: ignore[arg-type]


def test_a_process_that_was_told_to_end_has_status_0() -> None:
    assert run_process(program(until_told), []) == 0


def test_a_key_that_could_be_found_by_trying_is_warned_of_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SFVOPI_TOKEN_SECRETS", "a-long-enough-secret,mary")
    assert run_process(program(until_told), []) == 0
    told = capsys.readouterr().err
    [line] = [line for line in told.splitlines() if "SFVOPI_TOKEN_SECRETS" in line]
    assert '"level": "warning"' in line
    assert "openssl rand -hex 32" in line
    assert "mary" not in told


@pytest.mark.parametrize("name", ["REDIS_URL", "SFVOPI_TYPO"])
def test_settings_that_cannot_be_read_are_one_line_and_status_2(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "nonsense")
    assert run_process(program(until_told), []) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {name}")


def test_settings_that_show_to_be_wrong_later_are_told_alike(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_process(program(cannot), []) == 2
    assert capsys.readouterr().err.splitlines() == ["error: SFVOPI_ONE: wrong", "error: SFVOPI_OTHER: wrong too"]


@pytest.mark.parametrize(
    ("argument", "said"), [("--help", "examples:\n  python -m house.keeper\n"), ("--version", "sfvopi-fleet keeper ")]
)
def test_help_has_examples_and_version_names_the_process(
    argument: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_process(program(until_told), [argument])
    assert ended.value.code == 0
    assert said in capsys.readouterr().out


def test_a_process_has_the_name_that_its_settings_give_or_one_of_its_own() -> None:
    assert process_id("gateway-1") == "gateway-1"
    assert process_id("").endswith(f"-{os.getpid()}")
