"""Images install the wheel: what is not in it is missed only there."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
NOT_SHIPPED = {"__pycache__"}


def test_the_wheel_holds_every_file_of_the_three_packages(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "uv", "build", "--wheel", "--no-build-isolation", "--quiet", "--out-dir", tmp_path]
    subprocess.run([*build, ROOT], check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    shipped = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        ["git", "ls-files", "gateway", "worker", "shared"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    ours = {name for name in listed.stdout.splitlines() if not NOT_SHIPPED & set(Path(name).parts)}
    assert ours - shipped == set()
