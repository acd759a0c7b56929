"""REDIS_URL is judged when settings are read: every process says the same of a bad one, and none quotes it."""

from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from shared.registry.address import parse_address
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
        ("redis://:hush@h?ssl=true", "does not know the option ssl: for TLS begin the URL with rediss://"),
        ("redis://:hush@h?timeout=5", "does not know the option timeout: write socket_timeout"),
        ("redis://:hush@h?foo=hush", "does not know the option foo: known are client_name"),
        ("redis://:hush@h?family=6", "does not know the option family"),
        ("redis://:hush@h?encoding=latin-1", "does not know the option encoding"),
        ("redis://:hush@h?decode_responses=1", "does not know the option decode_responses"),
        ("redis://:hush@h?host=other", "does not know the option host"),
        ("unix:///hush.sock?path=/hush", "does not know the option path"),
        ("redis://u:1?hush@h", "does not know the option in its query"),
        ("redis://:hush@h?socket_timeout=hush", "the value of socket_timeout cannot be read"),
        ("redis://:hush@h?socket_timeout=", "the value of socket_timeout cannot be read"),
        ("redis://:hush@h?ssl_ca_certs=/hush", "ssl_ca_certs needs TLS: begin the URL with rediss://"),
        ("redis+sentinel://:hush@h/s/0?ssl_ca_certs=/hush", "begin the URL with rediss+sentinel://"),
        ("rediss://:hush@h?ssl_cert_reqs=hush", "the value of ssl_cert_reqs cannot be read"),
        ("rediss+sentinel://:hush@h/s?master=hush", "does not know the option master"),
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


OURS: dict[str, Any] = {
    "decode_responses": True,
    "encoding_errors": "surrogatepass",
    "socket_connect_timeout": 1,
    "socket_timeout": 2,
    "max_connections": 3,
    "lib_name": None,
}


@pytest.mark.parametrize("base", ["redis://h:1/3", "rediss://h:1/3", "unix:///run/r.sock?db=3"])
@pytest.mark.parametrize(
    "options",
    ["", "protocol=2", "socket_timeout=5", "client_name=fleet", "health_check_interval=30", "retry_on_timeout=yes"],
)
def test_a_connection_can_be_made_with_each_option_that_is_taken(base: str, options: str) -> None:
    address = parse_address(base + ("&" if "?" in base else "?") + options)
    connection = address.pool(**OURS).make_connection()
    assert connection.db == 3
    assert connection.socket_timeout == (5.0 if "socket_timeout" in options else 2)


def test_a_private_authority_is_asked_of_sentinels_and_masters() -> None:
    query = "ssl_ca_certs=/ca.pem&ssl_check_hostname=true&ssl_cert_reqs=required"
    pool = parse_address(f"rediss+sentinel://a:1,b:2/s/0?{query}").pool(**OURS)
    assert isinstance(pool, SentinelConnectionPool)
    connections = [pool.make_connection()]
    connections += [each.connection_pool.make_connection() for each in pool.sentinel_manager.sentinels]
    assert len(connections) == 3
    for connection in connections:
        assert isinstance(connection, SSLConnection)
        assert (connection.ssl_context.ca_certs, connection.check_hostname) == ("/ca.pem", True)


def test_a_listener_has_no_time_limit_whatever_the_url_says() -> None:
    pool = parse_address("redis://h?socket_timeout=5").pool(**{**OURS, "socket_timeout": None})
    assert pool.make_connection().socket_timeout is None


def test_an_empty_url_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "")
    assert FleetSettings.read().redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"
