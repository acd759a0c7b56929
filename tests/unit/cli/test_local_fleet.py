"""The supervision of a local fleet, with stand-ins for its processes."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from shared.cli.fleet import FleetFailed, LocalFleet, Programs
from shared.settings import WorkerSettings

FAKE = str(Path(__file__).with_name("fake_process.py"))
PROGRAMS = Programs(*((sys.executable, FAKE, role) for role in ("gateway", "worker", "housekeeping")))


def a_fleet(folder: Path, env: dict[str, str] | None = None, **given) -> LocalFleet:
    env = {"FAKE_FOLDER": str(folder), **(env or {})}
    return LocalFleet(programs=PROGRAMS, env=env, run_dir=folder / "run", **given)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def until(condition, within_s: float = 5):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


async def test_a_fleet_comes_up_and_drains_workers_first_and_housekeeping_last(tmp_path):
    heard = []
    async with a_fleet(tmp_path, on_progress=lambda *step: heard.append(step)) as fleet:
        pids = [child.pid for child in fleet.children.values()]
        assert len(set(pids)) == 5
        assert fleet.redis_url.startswith("unix://")
        assert fleet.answer_url == f"http://127.0.0.1:{fleet.port}/webhook/answer"
        assert [line["event"] for line in fleet.logs("worker-1")] == ["started"]
    order = [line.split()[0] for line in (tmp_path / "events").read_text().splitlines()]
    assert sorted(order[:2]) == ["worker-1", "worker-2"]
    assert order[2:] == ["gateway", "housekeeping"]
    assert {("gateway", "ready"), ("worker-1", "ready"), ("worker-2", "ready"), ("redis", "ready")} <= set(heard)
    assert not any(is_alive(pid) for pid in pids)


async def test_a_process_that_ends_at_start_is_named_with_the_end_of_its_log(tmp_path):
    with pytest.raises(FleetFailed, match=r"worker-2 ended with status 1(.|\n)*SFVOPI_SOMETHING: is not right"):
        async with a_fleet(tmp_path, {"FAKE_CRASH": "worker-2"}):
            pass


async def test_a_process_that_is_never_ready_is_named_with_its_state(tmp_path):
    fleet = a_fleet(tmp_path, {"FAKE_LATE": "worker-1"}, ready_within_s=1)
    with pytest.raises(FleetFailed, match=r"not ready after 1 s: worker-1 \(starting\)"):
        await fleet.__aenter__()
    assert not any(child.is_running for child in fleet.children.values())


async def test_a_worker_whose_bot_failed_ends_the_start_at_once_with_the_reason(tmp_path):
    fleet = a_fleet(tmp_path, {"FAKE_BAD": "worker-2"}, ready_within_s=30)
    with pytest.raises(FleetFailed, match=r"worker-2 will not be ready \(bot_failed\):\nm:sales: m.py:7: NameError"):
        await fleet.__aenter__()


async def test_a_worker_that_can_run_another_bot_is_ready_and_the_failed_one_is_told(tmp_path):
    heard = []
    fleet = a_fleet(tmp_path, {"FAKE_HALF_BAD": "worker-2"}, on_progress=lambda name, what: heard.append((name, what)))
    async with fleet:
        assert ("worker-2", "cannot run m:sales: m.py:7: NameError: name 'x'") in heard
        assert ("worker-2", "ready") in heard


async def test_a_process_that_ignores_the_drain_is_killed_and_named(tmp_path):
    async with a_fleet(tmp_path, {"FAKE_STUBBORN": "worker-1"}) as fleet:
        assert await fleet.drain(0.3) == ["worker-1"]


async def test_ending_now_interrupts_all_at_once(tmp_path):
    async with a_fleet(tmp_path) as fleet:
        await fleet.end_now()
        assert not any(child.is_running for name, child in fleet.children.items() if name != "redis")
    assert set((tmp_path / "events").read_text().split()[1::2]) == {"SIGINT"}


async def test_a_killed_worker_comes_back_as_another_worker(tmp_path):
    async with a_fleet(tmp_path) as fleet:
        fleet.kill("worker-1")
        await fleet.children["worker-1"].wait()
        await fleet.start_process("worker-1")
        await fleet.wait_until_ready(5)
        assert fleet.worker_ids["worker-1"] == "worker-1.2"


async def test_redis_can_be_killed_and_started_again(tmp_path):
    async with a_fleet(tmp_path, workers=1) as fleet:
        fleet.kill("redis")
        await fleet.children["redis"].wait()
        await fleet.start_process("redis")
        assert fleet.children["redis"].is_running


async def test_settings_of_the_environment_stay_outside(tmp_path, monkeypatch):
    monkeypatch.setenv("SFVOPI_CODEC", "L16")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-something")
    fleet = a_fleet(tmp_path)
    assert not {"SFVOPI_CODEC", "OPENAI_API_KEY"} & set(fleet.environment("gateway"))
    kept = a_fleet(tmp_path, keep_settings=True)
    assert kept.environment("worker-1")["SFVOPI_CODEC"] == "L16"
    await asyncio.gather(fleet.api.close(), kept.api.close())


async def test_a_workers_port_and_address_are_for_one_worker_and_not_for_several(tmp_path, monkeypatch):
    """The second worker found the port taken, and `sfvopi up` ended."""
    settings = {"SFVOPI_WORKER_PORT": "9100", "SFVOPI_WORKER_ADDRESS": "10.0.0.7:9100"}
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    several, one = a_fleet(tmp_path, keep_settings=True), a_fleet(tmp_path, keep_settings=True, workers=1)
    assert not set(settings) & set(one.environment("worker-1")), "as .env has them"
    environment = {name: value for name, value in several.environment("worker-2").items() if name.startswith("SFVOPI_")}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    worker = WorkerSettings.read()
    assert (worker.port, worker.address) == (0, "")
    await asyncio.gather(several.api.close(), one.api.close())


async def test_secrets_of_the_settings_file_reach_every_process_as_they_stand_there(tmp_path, monkeypatch):
    """Streams signed with the user's own secret were refused: one that was made up had taken its place."""
    names = ("SFVOPI_TOKEN_SECRETS", "SFVOPI_WEBHOOK_SECRETS")
    monkeypatch.chdir(tmp_path)
    for name in names:
        monkeypatch.delenv(name, raising=False)
    fleet = a_fleet(tmp_path, keep_settings=True, webhook_secret="of-this-folder")
    made_up = fleet.environment("gateway")
    assert len(made_up[names[0]]) == 64
    assert made_up[names[1]] == "of-this-folder"
    (tmp_path / ".env").write_text("".join(f"{name}={'n' * 32},{'o' * 32}\n" for name in names))
    assert not set(names) & set(fleet.environment("gateway")), "as .env has them"
    (tmp_path / ".env").write_text("".join(f"{name}_FILE=/run/secrets/{name}\n" for name in names))
    assert not set(names) & set(fleet.environment("worker-1"))
    (tmp_path / ".env").unlink()
    for name in names:
        monkeypatch.setenv(name, "of the environment")
    assert {fleet.environment("housekeeping")[name] for name in names} == {"of the environment"}
    await fleet.api.close()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux'")
def test_children_die_with_a_parent_that_was_killed(tmp_path):
    script = f"""
import asyncio, sys
from pathlib import Path
from shared.cli.fleet import LocalFleet, Programs
programs = Programs(*((sys.executable, {FAKE!r}, role) for role in ("gateway", "worker", "housekeeping")))
async def main():
    async with LocalFleet(programs=programs, env={{"FAKE_FOLDER": {str(tmp_path)!r}}}) as fleet:
        Path({str(tmp_path / "pids")!r}).write_text(" ".join(str(c.pid) for c in fleet.children.values()) + " .")
        await asyncio.sleep(60)
asyncio.run(main())
"""
    import subprocess

    parent = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[3])
    pids = tmp_path / "pids"
    until(lambda: pids.exists() and pids.read_text().endswith("."), within_s=15)
    children = [int(pid) for pid in pids.read_text().split()[:-1]]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not any(is_alive(pid) for pid in children))


async def test_a_rolling_restart_replaces_every_process_and_waits_for_none_that_has_calls(tmp_path):
    told = []
    async with a_fleet(tmp_path, gateways=2, on_progress=lambda *step: told.append(step)) as fleet:
        before = dict(fleet.children)
        await fleet.rolling_restart()
        assert [name for name, what in told if what == "replaced"] == [
            *("gateway-1", "gateway-2", "worker-1", "worker-2", "housekeeping")
        ]
        assert all(fleet.children[name] is not before[name] for name in before if name != "redis")
        assert fleet.children["redis"] is before["redis"]
        assert fleet.worker_ids == {"worker-1": "worker-1.2", "worker-2": "worker-2.2"}
        left = [await child.wait() for name, child in before.items() if name != "redis"]
        assert left == [0] * 5
    ended = [line.split()[0] for line in (tmp_path / "events").read_text().splitlines()]
    assert sorted(ended[:5]) == ["gateway", "gateway", "housekeeping", "worker-1", "worker-2"]


async def test_a_new_process_that_does_not_come_up_leaves_the_old_one_in_its_place(tmp_path):
    async with a_fleet(tmp_path, {"FAKE_CRASH": "worker-2.2"}) as fleet:
        before = dict(fleet.children)
        with pytest.raises(FleetFailed, match="worker-2 ended with status 1"):
            await fleet.rolling_restart()
        assert fleet.children["worker-1"] is not before["worker-1"]
        assert fleet.children["worker-2"] is before["worker-2"]
        assert fleet.children["worker-2"].is_running


async def test_what_still_leaves_is_ended_with_the_fleet(tmp_path):
    async with a_fleet(tmp_path, {"FAKE_STUBBORN": "worker-1"}, workers=1, stop_within_s=0.3) as fleet:
        await fleet.rolling_restart()
        (stubborn,) = [child for child in fleet.leaving if child.name == "worker-1"]
        assert stubborn.is_running
    assert not stubborn.is_running
