"""Settings: where they come from, and what is refused at start rather than found in production."""

from pathlib import Path
from typing import Any

import pytest

from shared.settings import GatewaySettings, HousekeepingSettings, Numbers, SettingsError, WorkerSettings
from shared.settings.gateway import OPEN_WEBHOOKS

WORKER = {"token_secrets": "a secret for tests"}
GATEWAY = {**WORKER, "public_wss_url": "wss://bots.example.com/ws", "webhook_secrets": "s" * 32}


@pytest.fixture(autouse=True)
def _a_folder_without_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def refusal(model: Any, **given: Any) -> str:
    with pytest.raises(SettingsError) as refused:
        model.read(**given)
    return str(refused.value)


def test_a_setting_is_a_variable_or_a_line_in_env_or_a_secret_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("from a file\n")
    (tmp_path / ".env").write_text("SFVOPI_MAX_CALL_S=60\n")
    monkeypatch.setenv("SFVOPI_TOKEN_SECRETS_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("SFVOPI_IDLE_S", "30")
    settings = WorkerSettings.read()
    assert settings.token_keys == ["from a file"]
    assert (settings.max_call_s, settings.idle_s) == (60, 30)


@pytest.mark.parametrize("where", ["environment", ".env"])
def test_an_empty_line_hides_no_secret_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str) -> None:
    """Compose puts every line of .env into the containers' environment, as it is."""
    (tmp_path / "key").write_text("from a file\n")
    monkeypatch.setenv("SFVOPI_TOKEN_SECRETS_FILE", str(tmp_path / "key"))
    if where == ".env":
        (tmp_path / ".env").write_text("SFVOPI_TOKEN_SECRETS=\n")
    else:
        monkeypatch.setenv("SFVOPI_TOKEN_SECRETS", "")
    assert WorkerSettings.read().token_keys == ["from a file"]


def test_a_secret_that_is_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SFVOPI_TOKEN_SECRETS", "one")
    monkeypatch.setenv("SFVOPI_TOKEN_SECRETS_FILE", str(tmp_path / "two"))
    assert "both set" in refusal(WorkerSettings)


@pytest.mark.parametrize("name", ["SFVOPI_WEBHOOK_SECRETS", "SFVOPI_TOKEN_SECRETS", "SFVOPI_API_TOKEN"])
@pytest.mark.parametrize("written", ["", "  \n"])
def test_a_secret_whose_file_is_empty_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, written: str
) -> None:
    (tmp_path / "key").write_text(written)
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "key"))
    given = {field: value for field, value in GATEWAY.items() if not name.lower().endswith(field)}
    assert f"{name}_FILE: {tmp_path / 'key'} is empty" in refusal(GatewaySettings, **given)


def test_a_provider_whose_key_file_is_empty_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("")
    monkeypatch.setenv("DEEPGRAM_API_KEY_FILE", str(tmp_path / "key"))
    assert WorkerSettings.read(**WORKER).deepgram_api_key.get_secret_value() == ""


@pytest.mark.parametrize("secrets", ["", ",", " , "])
@pytest.mark.parametrize("url", ["wss://bots.example.com/ws", "wss://10.0.0.7/ws", "wss://[2001:db8::1]/ws"])
def test_a_public_gateway_without_a_webhook_secret_does_not_start_unless_that_is_meant(url: str, secrets: str) -> None:
    open_one = {**WORKER, "public_wss_url": url, "webhook_secrets": secrets}
    assert "SFVOPI_WEBHOOK_SECRETS is not set" in refusal(GatewaySettings, **open_one)
    meant = GatewaySettings.read(**open_one, open_webhooks="on")
    assert OPEN_WEBHOOKS in meant.weaknesses


@pytest.mark.parametrize("url", ["ws://127.0.0.1/ws", "ws://localhost:3000/ws", "ws://[::1]/ws", "wss://127.0.0.1/ws"])
def test_on_loopback_no_webhook_secret_is_needed(url: str) -> None:
    assert GatewaySettings.read(**{**WORKER, "public_wss_url": url}).weaknesses == []


def test_secrets_that_can_be_found_by_trying_are_weaknesses() -> None:
    given = {**GATEWAY, "webhook_secrets": f"abc,{'s' * 32}", "token_secrets": f"{'t' * 32},abc"}
    weak = GatewaySettings.read(**given).weaknesses
    assert [weakness.setting for weakness in weak] == ["SFVOPI_TOKEN_SECRETS", "SFVOPI_WEBHOOK_SECRETS"]
    assert GatewaySettings.read(**(GATEWAY | {"token_secrets": "t" * 16, "webhook_secrets": "s" * 16})).weaknesses == []


def test_a_secret_whose_file_cannot_be_read_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SFVOPI_TOKEN_SECRETS_FILE", str(tmp_path / "nowhere"))
    assert refusal(WorkerSettings).startswith("SFVOPI_TOKEN_SECRETS_FILE: cannot read")


@pytest.mark.parametrize(
    ("file", "named"),
    [(".env", "settings"), ("key", "SFVOPI_TOKEN_SECRETS_FILE"), ("numbers.toml", "SFVOPI_BOTS")],
)
def test_a_file_that_is_not_utf8_is_refused_and_not_quoted(
    file: str, named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / file).write_bytes(b"SFVOPI_VOICE=caf\xe9\n")
    given: dict[str, Any] = dict(WORKER)
    if file == "key":
        given = {}
        monkeypatch.setenv("SFVOPI_TOKEN_SECRETS_FILE", file)
    if file == "numbers.toml":
        given["numbers_file"] = file
    with pytest.raises(SettingsError, match="is not UTF-8 text") as refused:
        Numbers.read(WorkerSettings.read(**given))
    assert str(refused.value).startswith(f"{named}: ")
    assert "caf" not in str(refused.value)


@pytest.mark.parametrize("where", ["environment", ".env"])
def test_a_variable_with_a_typo_is_answered_with_what_was_meant(
    where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if where == ".env":
        (tmp_path / ".env").write_text("export SFVOPI_MAX_CALLS=60\n")
    else:
        monkeypatch.setenv("SFVOPI_MAX_CALLS", "60")
    assert refusal(WorkerSettings, **WORKER) == "SFVOPI_MAX_CALLS is not a setting; did you mean SFVOPI_MAX_CALL_S?"


def test_a_lease_shorter_than_three_heartbeats_is_refused() -> None:
    assert "three heartbeats" in refusal(WorkerSettings, **WORKER, heartbeat_s=2, lease_s=5)


@pytest.mark.parametrize("seconds", ["inf", "nan", "-1", "0", "an hour"])
def test_a_duration_that_is_none_is_refused_at_start(seconds: str) -> None:
    """`inf` was taken, and every answer webhook failed on the stream_timeout that was made of it."""
    assert refusal(GatewaySettings, **GATEWAY, max_call_s=seconds).startswith("SFVOPI_MAX_CALL_S: ")


@pytest.mark.parametrize("port", [-1, 65536, "http"])
def test_a_port_that_is_none_is_refused_at_start(port: Any) -> None:
    assert refusal(GatewaySettings, **GATEWAY, port=port).startswith("SFVOPI_GATEWAY_PORT: ")
    assert refusal(GatewaySettings, **GATEWAY, internal_port=port).startswith("SFVOPI_GATEWAY_INTERNAL_PORT: ")
    assert refusal(WorkerSettings, **WORKER, port=port).startswith("SFVOPI_WORKER_PORT: ")
    assert refusal(HousekeepingSettings, port=port).startswith("SFVOPI_HOUSEKEEPING_PORT: ")


def test_a_log_level_is_a_level_in_any_case() -> None:
    assert WorkerSettings.read(**WORKER, log_level="debug").log_level == "DEBUG"
    assert refusal(WorkerSettings, **WORKER, log_level="chatty").startswith("SFVOPI_LOG_LEVEL: must be one of DEBUG")


@pytest.mark.parametrize("secret", ["a/b", "a b", "a%2Fb", "q+w==", "ä"])
def test_a_webhook_secret_that_no_path_can_hold_is_refused(secret: str) -> None:
    """`openssl rand -base64` makes slashes: the process started well, and every webhook was answered with 404."""
    message = refusal(GatewaySettings, **(GATEWAY | {"webhook_secrets": f"good-1,{secret}"}))
    assert "part of a URL's path" in message
    assert secret not in message


@pytest.mark.parametrize("address", ["10.0.0.7:9100", "[fd00::7]:9100", ""])
def test_a_workers_address_is_an_ip_and_a_port(address: str) -> None:
    assert WorkerSettings.read(**WORKER, address=address).address == address


@pytest.mark.parametrize("address", ["worker-1:9100", "10.0.0.7", "10.0.0.7:", "10.0.0.7:0", "10.0.0.7:http", ":9100"])
def test_a_workers_address_that_would_have_to_be_looked_up_is_refused(address: str) -> None:
    assert refusal(WorkerSettings, **WORKER, address=address).startswith("SFVOPI_WORKER_ADDRESS: must be IP:port")


def test_a_number_is_counted_in_its_group_or_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "bots.toml"
    file.write_text('[default]\ngroup = "front"\n["+911"]\ngroup = "sales"\n["+912"]\nceiling = 3\n')
    numbers = Numbers.read(WorkerSettings(token_secrets="a secret for tests", numbers_file=str(file)))
    assert [numbers.plan_for(number).group for number in ("+911", "+912", "+913")] == ["sales", "front", "front"]
    assert [group for _, group in numbers.groups_of_bots] == ["front", "sales"]


@pytest.mark.parametrize("group", ['"+919812345678"', '""', '"a b"', "7"])
def test_a_group_that_is_no_name_is_refused(group: str, tmp_path: Path) -> None:
    file = tmp_path / "bots.toml"
    file.write_text(f'["+911"]\ngroup = {group}\n')
    with pytest.raises(SettingsError, match="group must be a name"):
        Numbers.read(WorkerSettings(token_secrets="a secret for tests", numbers_file=str(file)))
