"""Commands that nobody runs every day find what they import."""

import importlib
import pkgutil

import pytest

import tests.bench

NAMES = [found.name for found in pkgutil.iter_modules(tests.bench.__path__) if found.name != "__main__"]


@pytest.mark.parametrize("name", NAMES)
def test_it_loads(name: str) -> None:
    importlib.import_module(f"tests.bench.{name}")
