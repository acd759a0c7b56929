"""Which bots a worker can run: it is ready if there is one, says which, and gets no calls of the others."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog

from shared.settings import Rehearsal, SettingsError, WorkerSettings
from tests.unit.worker.conftest import Echo, run_pipeline
from worker import prepared_bots
from worker.pipeline.transport import SFVoPITransport

GOOD, BAD, WANTS = "test:scripted", "test:raises", "test:wants"


def bots_file(folder: Path, *bots: str) -> Path:
    """Each at a number of its own, the first by default."""
    path = folder / "bots.toml"
    tables = [f'["+9180000000{n:02}"]\nbot = "{bot}"\n' for n, bot in enumerate(bots)]
    path.write_text(f'[default]\nbot = "{bots[0]}"\n' + "".join(tables))
    return path


async def readyz(fleet: Any) -> tuple[int, dict[str, Any]]:
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"http://{fleet.app.address}/readyz")
    return answer.status_code, answer.json()


async def record_of(fleet: Any) -> Any:
    return (await fleet.registry.workers())[0].record


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (BAD, "RuntimeError: a bot's own mistake"),
        ("test:returns", "without a pipeline"),
        ("test:nobody", "test:nobody"),
    ],
)
async def test_a_worker_whose_only_bot_fails_is_not_ready_and_says_why(
    start_worker: Any, name: str, fault: str
) -> None:
    fleet = await start_worker(default_bot=name, rehearsal="require")
    status, said = await readyz(fleet)
    assert (status, said["readiness"]) == (503, "bot_failed")
    assert fault in said["bot_failed"][name]
    assert (await record_of(fleet)).state == "starting"
    assert fleet.count("sfvopi_bot_failed", bot=name) == 1
    assert fleet.count("sfvopi_ready") == 0


@pytest.mark.parametrize("mode", ["warn", "off"])
async def test_a_worker_serves_such_a_bot_where_it_is_told_to(start_worker: Any, mode: str) -> None:
    fleet = await start_worker(default_bot=BAD, rehearsal=mode)
    assert (await readyz(fleet))[0] == 200
    assert (await record_of(fleet)).bots is None
    assert len(fleet.app.bots.rehearsals) == (mode == "warn")


async def test_of_two_bots_the_worker_lists_the_one_that_it_can_run(start_worker: Any, tmp_path: Path) -> None:
    fleet = await start_worker(numbers_file=bots_file(tmp_path, GOOD, BAD), rehearsal="require")
    status, said = await readyz(fleet)
    assert (status, list(said["bot_failed"])) == (200, [BAD])
    record = await record_of(fleet)
    assert (record.state, record.bots) == ("serving", (GOOD,))
    assert [fleet.count("sfvopi_bot_failed", bot=bot) for bot in (GOOD, BAD)] == [0, 1]


@pytest.mark.parametrize("mode", ["require", "warn", "off"])
async def test_a_bot_that_cannot_be_imported_takes_no_calls_whatever_the_setting(
    start_worker: Any, tmp_path: Path, mode: str
) -> None:
    fleet = await start_worker(numbers_file=bots_file(tmp_path, GOOD, "test:nobody"), rehearsal=mode)
    assert (await readyz(fleet))[0] == 200
    assert (await record_of(fleet)).bots == (GOOD,)


async def test_a_call_of_a_bot_that_failed_here_is_left_to_another_worker(start_worker: Any, tmp_path: Path) -> None:
    """It was placed before the worker said so, or by a gateway of the version before."""
    fleet = await start_worker(numbers_file=bots_file(tmp_path, GOOD, BAD), rehearsal="require")
    refusal = await fleet.refusal(await fleet.answer("call-1", bot=BAD))
    assert (refusal.status_code, refusal.body) == (503, b"bot_failed")
    assert fleet.count("sfvopi_streams_total", result="bot_failed") == 1
    await fleet.call("call-2", bot=GOOD)
    await fleet.scripted()


async def test_a_provider_that_is_away_at_the_start_is_asked_again_until_it_is_back(
    start_worker: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared_bots, "FIRST_PAUSE_S", 0.05)
    asked: list[float] = []

    async def wants_a_provider(arguments: Any) -> None:
        asked.append(0)
        if len(asked) < 3:
            raise ConnectionRefusedError
        await run_pipeline(SFVoPITransport.for_call(arguments), Echo())

    with structlog.testing.capture_logs() as lines:
        fleet = await start_worker(default_bot=WANTS, rehearsal="require", more_bots={WANTS: wants_a_provider})
        status, said = await readyz(fleet)
        assert (status, said["bot_failed"], list(said["provider_away"])) == (200, {}, [WANTS])
        assert fleet.count("sfvopi_bot_waits_for_provider", bot=WANTS) == 1
        await until(lambda: not fleet.app.bots.details()["provider_away"])
    assert (await record_of(fleet)).bots is None
    assert fleet.count("sfvopi_bot_waits_for_provider", bot=WANTS) == 0
    levels = [line["log_level"] for line in lines if line["event"] == "a provider is away at a rehearsal"]
    assert levels == ["warning", "warning"]
    assert fleet.app.health.readiness == "ready"


async def test_a_fault_that_the_absence_had_hidden_takes_the_bot_out_of_the_list(
    start_worker: Any, until: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared_bots, "FIRST_PAUSE_S", 0.05)
    asked: list[float] = []

    async def hides(_: Any) -> None:
        asked.append(0)
        raise TimeoutError if len(asked) == 1 else ValueError("no such voice")

    file = bots_file(tmp_path, GOOD, "test:hides")
    fleet = await start_worker(numbers_file=file, rehearsal="require", more_bots={"test:hides": hides})
    assert (await record_of(fleet)).bots is None
    await until(lambda: fleet.app.describe().bots == (GOOD,))
    assert "no such voice" in (await readyz(fleet))[1]["bot_failed"]["test:hides"]


async def test_bots_are_rehearsed_side_by_side_and_not_too_many_at_once(start_worker: Any, tmp_path: Path) -> None:
    running: list[int] = [0]
    most: list[int] = [0]

    async def slow(_: Any) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0.05)
        running[0] -= 1
        raise ValueError("slow")

    names = [f"test:slow{n}" for n in range(9)]
    file = bots_file(tmp_path, *names)
    fleet = await start_worker(numbers_file=file, rehearsal="require", more_bots=dict.fromkeys(names, slow))
    assert most[0] == prepared_bots.SIDE_BY_SIDE
    assert [done.bot for done in fleet.app.bots.rehearsals] == names


# -- the setting and its old name


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ({}, Rehearsal.REQUIRE),
        ({"SFVOPI_REHEARSAL": "warn"}, Rehearsal.WARN),
        ({"SFVOPI_REHEARSE": "on"}, Rehearsal.REQUIRE),
        ({"SFVOPI_REHEARSE": "OFF"}, Rehearsal.OFF),
        ({"SFVOPI_REHEARSE": "false"}, Rehearsal.OFF),
        ({"SFVOPI_REHEARSE": "off", "SFVOPI_REHEARSAL": "require"}, Rehearsal.REQUIRE),
    ],
)
def test_the_old_name_is_read_for_one_version(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], mode: Rehearsal
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert WorkerSettings.read(token_secrets="the-signing-key-of-tests").rehearsal_mode is mode


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("SFVOPI_REHEARSAL", "on", "require, warn or off"), ("SFVOPI_REHEARSE", "warn", "on or off")],
)
def test_what_means_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=told):
        WorkerSettings.read(token_secrets="the-signing-key-of-tests")


async def test_who_still_uses_the_old_name_is_told(start_worker: Any) -> None:
    with structlog.testing.capture_logs() as lines:
        await start_worker(rehearse="off")
    assert any(line["event"].startswith("SFVOPI_REHEARSE is called SFVOPI_REHEARSAL") for line in lines)
