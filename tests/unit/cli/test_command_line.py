"""The command as such: help, version, settings, manners."""

import json
import subprocess
import sys

import pytest

from shared.cli.settings_list import all_settings
from shared.version import VERSION

COMMANDS = ["demo", "up", "doctor", "calls", "calls show", "wire", "workers", "end", "settings", "metrics", "call"]
COMMANDS += ["bench", "bench capacity"]
SFVOPI = [sys.executable, "-c", "from shared.cli.main import app; app(prog_name='sfvopi')"]


def run(*args: str, **given) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SFVOPI, *args], capture_output=True, text=True, timeout=60, **given)


def test_the_version_is_the_packages(sfvopi):
    assert sfvopi("--version").stdout == f"sfvopi-fleet {VERSION}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(sfvopi, command):
    result = sfvopi(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"sfvopi {command}" in result.stdout.partition("Usage:")[2].partition("\n")[2]


def test_without_a_command_there_is_help(sfvopi):
    assert "Start here:" in sfvopi().output


def test_as_a_process_it_writes_results_to_stdout_and_errors_to_stderr(tmp_path):
    good = run("settings", "--json")
    assert good.returncode == 0
    assert "PUBLIC_WSS_URL" in {setting["variable"] for setting in json.loads(good.stdout)}
    bad = run("calls", "--api", "http://127.0.0.1:1")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr.startswith("error: no gateway answers")
    assert "\x1b" not in good.stdout + bad.stderr  # no colours: it is no terminal


def test_bad_usage_is_status_2():
    assert run("calls", "--limit", "many").returncode == 2
    assert run("nonsense").returncode == 2


def test_settings_have_a_variable_each_and_show_no_secret(sfvopi):
    listed = json.loads(sfvopi("settings", "--json", SFVOPI_API_TOKEN="hush", SFVOPI_CODEC="L16").stdout)
    by_name = {setting["variable"]: setting for setting in listed}
    assert len(by_name) == len(listed) == len(all_settings())
    assert by_name["SFVOPI_API_TOKEN"]["given"] == "(set)"
    assert by_name["SFVOPI_CODEC"]["given"] == "L16"
    assert by_name["SFVOPI_CALLS_PER_WORKER"]["default"] == "10"


def test_settings_as_a_document_have_a_row_for_each(sfvopi):
    document = sfvopi("settings", "--markdown").stdout
    assert document.startswith("# Settings\n")
    assert all(f"| `{setting.variable}` |" in document for setting in all_settings())
