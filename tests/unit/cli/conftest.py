"""The command as a user has it: an empty folder, no settings."""

import pytest
from typer.testing import CliRunner

from shared.cli.main import app
from shared.settings.fleet import known_names
from tests.unit.cli.api_server import TOKEN, api_server


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in known_names():
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def sfvopi():
    """Run the command; returns its result (exit_code, stdout, stderr)."""
    return lambda *args, **env: CliRunner().invoke(app, [str(arg) for arg in args], env=env)


@pytest.fixture
def api(monkeypatch):
    with api_server() as url:
        monkeypatch.setenv("SFVOPI_API_URL", url)
        monkeypatch.setenv("SFVOPI_API_TOKEN", TOKEN)
        yield url
