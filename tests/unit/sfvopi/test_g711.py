"""G.711 against ITU-T's own numbers, on every interpreter from 3.11 to 3.13 that this machine has."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sfvopi.formats import PCMA_8K, AudioFormat, Codec
from shared.sfvopi.g711 import decode, encode

ROOT = Path(__file__).parents[3]
CHECK = Path(__file__).with_name("g711_check.py")
VERSIONS = ["3.11", "3.12", "3.13"]
PCMU = AudioFormat(Codec.PCMU)
PROBE = "import os, sys; print(*sys.version_info[:2], sep='.'); print(os.path.realpath(sys.executable))"


def interpreters_of(version: str) -> list[str]:
    """Interpreters of a version: the running one, those in PATH, and pyenv's; each once."""
    name = f"python{version}"
    folders = [*map(Path, os.get_exec_path()), *Path.home().glob(f".pyenv/versions/{version}*/bin")]
    candidates = [sys.executable, *(str(folder / name) for folder in folders if (folder / name).is_file())]
    found: dict[str, str] = {}
    for candidate in candidates:
        probe = subprocess.run([candidate, "-I", "-c", PROBE], capture_output=True, text=True, check=False, timeout=30)
        lines = probe.stdout.split("\n")  # a shim of a version that is not switched on fails: not an interpreter
        if probe.returncode == 0 and lines[0] == version:
            found.setdefault(lines[1], candidate)
    return list(found.values())


def audioop_folder(python: str, version: str) -> str:
    """Where `python` finds audioop: nowhere in particular below 3.13, in a cache of ours from there."""
    if (
        subprocess.run([python, "-W", "ignore", "-c", "import audioop"], capture_output=True, check=False).returncode
        == 0
    ):
        return ""
    folder = ROOT / ".cache" / f"audioop-{version}"
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if uv is None:
        pytest.skip(f"{python}: audioop-lts is not installed, and there is no uv to fetch it")
    install = [uv, "pip", "install", "--quiet", "--target", str(folder), "--python", python, "audioop-lts"]
    fetched = subprocess.run(install, capture_output=True, text=True, check=False, timeout=100)
    if fetched.returncode != 0:
        pytest.skip(f"{python}: audioop-lts could not be fetched: {fetched.stderr.strip()[-200:]}")
    return str(folder)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_code_and_every_sample_agree_with_the_standard(version: str) -> None:
    pythons = interpreters_of(version)
    if not pythons:
        pytest.skip(f"no interpreter of Python {version} on this machine")
    for python in pythons:
        path = os.pathsep.join(filter(None, [str(ROOT), audioop_folder(python, version)]))
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path}
        command = [python, "-W", "ignore", str(CHECK)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{python}: {done.stderr}"
        result = json.loads(done.stdout)
        assert result["wrong"] == {"A-law": [], "µ-law": []}, python
        print(f"Python {result['python']} ({python}): {result['audioop']}")


@pytest.mark.parametrize("format", [PCMA_8K, PCMU])
def test_silence_is_the_code_that_the_format_names(format: AudioFormat) -> None:
    assert encode(b"\0" * 320, format) == format.silence * 160
    assert max(abs(sample) for sample in memoryview(decode(format.silence * 160, format)).cast("h")) <= 8


def test_silence_read_with_the_wrong_law_is_a_hum() -> None:
    assert min(abs(sample) for sample in memoryview(decode(PCMA_8K.silence, PCMU)).cast("h")) > 500


def test_l16_passes_through() -> None:
    l16 = AudioFormat(Codec.L16, 16000)
    assert encode(b"\1\2", l16) == b"\1\2" == decode(b"\1\2", l16)


@pytest.mark.parametrize("format", [PCMA_8K, PCMU, AudioFormat(Codec.L16)])
def test_half_a_sample_is_our_own_fault(format: AudioFormat) -> None:
    with pytest.raises(ValueError, match="whole"):
        encode(b"\0", format)


@given(st.binary(), st.sampled_from([PCMA_8K, PCMU]))
def test_coding_twice_changes_nothing_more(payload: bytes, format: AudioFormat) -> None:
    """The carrier may code what we have coded: only µ-law's negative zero has two spellings."""
    again = encode(decode(payload, format), format)
    assert again == (payload.replace(b"\x7f", b"\xff") if format is PCMU else payload)
