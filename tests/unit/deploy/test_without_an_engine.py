"""`make test-deploy` where no engine can run: it says so, loudly, and why."""

import os
import subprocess
import sys
from pathlib import Path

from shared.cli.fleet.environment import ROOT


def test_without_an_engine_the_run_is_skipped_with_the_reason_and_nothing_is_installed(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "SETUP_ENGINE"}
    environment |= {"DOCKER_HOST": f"unix://{tmp_path}/nobody.sock", "DOCKER_CONFIG": str(tmp_path)}
    argv = [sys.executable, "-m", "tests.deploy", "--json"]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("SKIPPED: no container engine: ")
    assert "SETUP_ENGINE=1 installs and starts one" in last
    reason = last.removeprefix("SKIPPED: no container engine: ").partition(";")[0]
    assert "nobody.sock" in reason or "not installed" in reason
