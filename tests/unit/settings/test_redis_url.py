"""REDIS_URL is judged when settings are read: every process says the same of a bad one, and none quotes it."""

from pathlib import Path

import pytest

from shared.settings import CliSettings, FleetSettings, GatewaySettings, HousekeepingSettings, SettingsError

GATEWAY = {"public_wss_url": "ws://127.0.0.1/ws", "token_secrets": "k"}


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # no .env of a developer
    monkeypatch.delenv("REDIS_URL", raising=False)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://:hush@localhost", "REDIS_URL must start with one of redis://"),
        ("redis://:hu/sh@localhost:6379", "is the port a number? In a password write %2F"),
        ("redis+sentinel://:hush@localhost:26379", "REDIS_URL must be redis+sentinel://host:26379"),
    ],
)
@pytest.mark.parametrize(
    ("model", "given"), [(GatewaySettings, GATEWAY), (HousekeepingSettings, {}), (CliSettings, {}), (FleetSettings, {})]
)
def test_a_url_that_cannot_be_used_is_told_once_and_never_quoted(
    monkeypatch: pytest.MonkeyPatch, model: type[FleetSettings], given: dict[str, str], url: str, said: str
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(SettingsError) as refused:
        model.read(**given)
    assert said in str(refused.value)
    assert str(refused.value).count("REDIS_URL") == 1
    assert "hu" not in str(refused.value)


@pytest.mark.parametrize("url", ["redis://:hush@h:1/0", "rediss://h", "unix:///run/r.sock", "redis+sentinel://h/s/0"])
def test_a_url_that_can_be_used_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    assert FleetSettings.read().redis_url.get_secret_value() == url


def test_an_empty_url_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "")
    assert FleetSettings.read().redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"
