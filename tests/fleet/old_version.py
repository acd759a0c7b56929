"""The version before this one, as code from the history of this repository: its processes share a fleet with ours."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.documents import ROOT

REVISION = "83f71ed"  # the release before: N−1
SCHEMA = 2  # of the records that it writes
PACKAGES = ("gateway", "worker", "shared", "tests")


def environment_of(folder: Path) -> dict[str, str]:
    """The environment of a process of that version, whose code is put into this folder. Skips without a history."""
    if not (folder / "shared").exists():
        packed = subprocess.run(
            ["git", "-C", str(ROOT), "archive", REVISION, *PACKAGES], capture_output=True, check=False
        )
        if packed.returncode != 0:
            pytest.skip(f"revision {REVISION} is not in this clone: its code was not run beside ours")
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
            files.extractall(folder, filter="data")
    return {"PYTHONPATH": str(folder)}


def environment_of_ours() -> dict[str, str]:
    """The environment of a process of this version."""
    return {"PYTHONPATH": str(ROOT)}
