"""Commands that nobody runs every day find what they import."""

import pkgutil
import subprocess
import sys

import tests.bench

NAMES = [found.name for found in pkgutil.iter_modules(tests.bench.__path__) if found.name != "__main__"]


def test_every_module_of_the_benchmark_loads() -> None:
    """In a process of their own: the benchmark's bot puts its providers in place of the receptionist's."""
    modules = ", ".join(f"tests.bench.{name}" for name in NAMES)
    ran = subprocess.run([sys.executable, "-c", f"import {modules}"], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
