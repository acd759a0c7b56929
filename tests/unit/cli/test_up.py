"""`sfvopi up` as a process, over stand-ins for the fleet's programs and for the tunnels'."""

import fcntl
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from shared.cli.faults import CliFault
from shared.cli.fleet.ports import free_port
from shared.cli.up.tunnel import find_tunnel

FAKE = str(Path(__file__).with_name("fake_process.py"))
UP = f"""
import functools, sys
from shared.cli.fleet import LocalFleet, Programs
from shared.cli.up import command
programs = Programs(*((sys.executable, {FAKE!r}, role) for role in ("gateway", "worker", "housekeeping")))
command.LocalFleet = functools.partial(LocalFleet, programs=programs)
from shared.cli.main import app
app(prog_name="sfvopi")
"""


def own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Running:
    """A running `sfvopi up`: its output so far, and what can be done to it."""

    def __init__(self, folder: Path, *args: str, output: int | None = None, **env: str) -> None:
        self.output = folder / "output"
        self.port = free_port()
        env = {
            "SFVOPI_GATEWAY_PORT": str(self.port),
            "SFVOPI_GATEWAY_INTERNAL_PORT": str(free_port()),
            "SFVOPI_HOUSEKEEPING_PORT": str(free_port()),
            "FAKE_FOLDER": str(folder),
            **env,
        }
        root = str(Path(__file__).parents[3])
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", UP, "up", *args],
                stdin=subprocess.DEVNULL if output is None else output,
                stdout=file if output is None else output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": root, **env},
                start_new_session=output is not None,
                preexec_fn=None if output is None or not os.isatty(output) else own_terminal,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    def until(self, pattern: str, within_s: float = 40) -> re.Match[str]:
        deadline = time.monotonic() + within_s
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self.text}"
            time.sleep(0.05)
        return found

    def end(self, sig: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(sig)
        return self.process.wait(15)


@pytest.fixture
def up(empty_folder):
    started: list[Running] = []

    def start(*args: str, output: int | None = None, **env: str) -> Running:
        started.append(Running(empty_folder, *args, output=output, **env))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def events(folder: Path) -> list[str]:
    return (folder / "events").read_text().splitlines()


def test_it_prints_what_to_paste_and_drains_on_one_ctrl_c(up, empty_folder):
    running = up()
    secret = running.until(rf"answer URL    http://127.0.0.1:{running.port}/webhook/([\w-]{{16,}})/answer")[1]
    assert f"/webhook/{secret}/hangup" in running.text
    assert "Only this machine reaches these" in running.text
    assert json.loads((empty_folder / ".sfvopi" / "up.json").read_text())["answer_url"].endswith("/answer")
    assert running.end() == 0
    assert events(empty_folder)[-1] == "housekeeping SIGTERM"
    assert not (empty_folder / ".sfvopi" / "up.json").exists()
    assert secret in up().until(r"answer URL .*")[0]  # the next start keeps the registered URL


def test_a_second_ctrl_c_ends_it_at_once(up, empty_folder):
    running = up("--workers", "1", FAKE_STUBBORN="worker-1")
    running.until("Ctrl-C drains")
    running.process.send_signal(signal.SIGTERM)
    running.until("draining")
    assert running.end() == 0
    assert "worker-1 SIGINT" in events(empty_folder)


def test_a_process_that_dies_is_started_again(up):
    running = up("--workers", "1")
    running.until("Ctrl-C drains")
    (child,) = _children_of(running.process.pid, "worker")
    os.kill(child, signal.SIGKILL)
    running.until(r"worker-1 ended with status -9; it is started again in 0\.5 s")
    running.until(r"worker-1\s+started\n(.|\n)*worker-1\s+started\n")
    assert running.end() == 0


def until(is_so, within_s: float = 40) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def terminal_that_goes() -> tuple[int, int]:
    """What is held to keep it, and what a program writes to. Nobody reads."""
    return pty.openpty()


def pipe_that_goes() -> tuple[int, int]:
    return os.pipe()


@pytest.mark.parametrize("opened", [terminal_that_goes, pipe_that_goes])
@pytest.mark.parametrize("goes", [True, False], ids=["gone", "not read"])
def test_a_fleet_is_kept_up_and_drained_whatever_becomes_of_its_output(up, empty_folder, opened, goes):
    """A closed terminal ended the fleet with the next line that was told; its SIGHUP had begun a restart."""
    held, output = opened()
    running = up("--workers", "1", output=output)
    os.close(output)
    until((empty_folder / ".sfvopi" / "up.json").exists)
    if goes:
        os.close(held)
    for _ in range(2):
        until(lambda: len(_children_of(running.process.pid, "worker")) == 1)
        (child,) = _children_of(running.process.pid, "worker")
        if not goes:  # more lines than a pipe or a terminal takes unread
            with next((empty_folder / ".sfvopi" / "logs").glob("*/gateway.jsonl")).open("a") as log:
                log.write(f"{'x' * 50}\n" * 3000)
        os.kill(child, signal.SIGKILL)
        until(lambda gone=child: gone not in _children_of(running.process.pid, "worker"))
    until(lambda: len(_children_of(running.process.pid, "worker")) == 1)
    assert "gateway SIGTERM" not in (events(empty_folder) if (empty_folder / "events").exists() else [])
    assert running.end(signal.SIGTERM) == 0
    assert events(empty_folder)[-1] == "housekeeping SIGTERM"
    if not goes:
        os.close(held)


def restart(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from shared.cli.main import app; app()", "restart", *args]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_a_fleet_that_is_up_is_restarted_by_another_command(up, empty_folder):
    running = up("--workers", "1")
    running.until("Ctrl-C drains")
    done = restart(empty_folder, "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["is_done"], told["fault"]) == (0, True, "")
    assert told["replaced"] == ["gateway", "worker-1", "housekeeping"]
    again = restart(empty_folder)
    assert (again.returncode, "3 processes replaced" in again.stdout) == (0, True), again.stderr
    assert "it is started again" not in running.text, "who left on purpose is not missed"
    assert running.end() == 0


def test_a_restart_that_fails_says_why_and_leaves_the_old_process(up, empty_folder):
    running = up("--workers", "1", FAKE_CRASH="worker-1.2")
    running.until("Ctrl-C drains")
    failed = restart(empty_folder)
    assert failed.returncode == 1
    assert "the restart stopped: worker-1 ended with status 1" in failed.stderr
    assert "SFVOPI_SOMETHING: is not right" in failed.stderr
    (empty_folder / "mended").touch()
    again = restart(empty_folder)
    assert (again.returncode, "3 processes replaced" in again.stdout) == (0, True), again.stderr
    assert running.end() == 0


def test_without_a_fleet_there_is_nothing_to_restart(empty_folder):
    none = restart(empty_folder)
    assert (none.returncode, "no fleet is up in this folder" in none.stderr) == (2, True)


def test_a_port_that_is_taken_is_said_before_anything_starts(up):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        running = up("--port", str(port))
        assert running.process.wait(15) == 2
    assert f"error: port {port} is taken" in running.text


def test_bad_settings_are_said_before_anything_starts(up):
    running = up("--public-url", "https://bots.example.com/ws")
    assert running.process.wait(15) == 2
    assert "error: PUBLIC_WSS_URL must start with wss://" in running.text


def test_a_port_that_is_set_for_workers_is_said_not_to_fit_two_of_them(up, empty_folder):
    (empty_folder / ".env").write_text("SFVOPI_WORKER_PORT=9100\n")
    running = up()
    running.until("Ctrl-C drains")
    assert "each of these takes a port of its own" in running.text
    assert running.end() == 0


def test_a_worker_that_cannot_start_is_named_and_everything_ends(up):
    running = up(FAKE_CRASH="worker-2")
    assert running.process.wait(20) == 1
    assert "error: worker-2 ended with status 1" in running.text
    assert "SFVOPI_SOMETHING: is not right" in running.text


@pytest.mark.parametrize(
    ("program", "says", "host"),
    [
        ("ngrok", '{"msg":"started tunnel","url":"https://ab12.ngrok-free.app"}', "ab12.ngrok-free.app"),
        ("cloudflared", "INF |  https://red-fox.trycloudflare.com  |", "red-fox.trycloudflare.com"),
    ],
)
def test_a_tunnel_gives_the_public_urls(up, empty_folder, program, says, host):
    path = _program(empty_folder, program, f"echo '{says}'; exec sleep 60")
    running = up("--tunnel", "--workers", "1", PATH=path)
    assert running.until(r"answer URL +(\S+)")[1].startswith(f"https://{host}/webhook/")
    assert running.end() == 0


def test_a_tunnel_that_ends_is_quoted(up, empty_folder):
    path = _program(empty_folder, "ngrok", "echo 'ERR_NGROK_4018: no authtoken'; exit 1")
    running = up("--tunnel", PATH=path)
    assert running.process.wait(15) == 1
    assert "ERR_NGROK_4018" in running.text


def test_without_a_tunnel_program_it_says_which_to_install(monkeypatch, empty_folder):
    monkeypatch.setenv("PATH", str(empty_folder))
    with pytest.raises(CliFault, match=r"install ngrok .* or cloudflared .* or run your own TLS front"):
        find_tunnel(3000, empty_folder)


def _program(folder: Path, name: str, script: str) -> str:
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    program = bin_folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{bin_folder}:/usr/bin:/bin"


def _children_of(parent: int, role: str) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            command = (status.parent / "cmdline").read_text().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent and command[-2:-1] == [role]:
            found.append(int(status.parent.name))
    return found
