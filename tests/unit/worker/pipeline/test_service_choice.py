"""Which service a call gets, and what is said when it cannot have the one that is asked for."""

from typing import Any

import pytest
from pydantic import SecretStr

from shared.settings import SettingsError, WorkerSettings
from worker.pipeline import services
from worker.pipeline.services.current import current_settings, use_settings


def settings(**given: Any) -> WorkerSettings:
    keys = {name: SecretStr(value) for name, value in given.items() if name.endswith("_key")}
    return WorkerSettings(_env_file=None, token_secrets=SecretStr("s"), **{**given, **keys})  # type: ignore[call-arg]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in ("DEEPGRAM", "OPENAI", "CARTESIA", "ELEVENLABS"):
        monkeypatch.delenv(f"{provider}_API_KEY", raising=False)


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, ("whisper", "scripted", "piper")),
        (
            {"deepgram_api_key": "d", "openai_api_key": "o", "cartesia_api_key": "c", "elevenlabs_api_key": "e"},
            ("deepgram", "openai", "cartesia"),
        ),
        ({"elevenlabs_api_key": "e"}, ("elevenlabs", "scripted", "elevenlabs")),
        ({"openai_api_key": "o"}, ("openai", "openai", "openai")),
        ({"deepgram_api_key": "d", "stt": "Whisper"}, ("whisper", "scripted", "piper")),
        (
            {"cartesia_api_key": "c", "elevenlabs_api_key": "e", "tts": "elevenlabs"},
            ("elevenlabs", "scripted", "elevenlabs"),
        ),
    ],
)
def test_services_follow_names_first_then_keys(given: dict[str, str], chosen: tuple[str, str, str]) -> None:
    assert tuple(services.chosen_names(settings(**given)).values()) == chosen


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"SFVOPI_TTS: 'catesia' is not known; known are cartesia, elevenlabs,"):
        services.make_tts(settings(tts="catesia"))


def test_a_missing_key_is_named() -> None:
    with pytest.raises(SettingsError, match="SFVOPI_STT=deepgram needs DEEPGRAM_API_KEY"):
        services.make_stt(settings(stt="deepgram"))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faster_whisper", None)
    with pytest.raises(SettingsError, match=r"SFVOPI_STT=whisper .* pip install 'sfvopi-fleet\[offline\]'"):
        services.make_stt(settings())


def test_replies_are_kept_short_by_a_token_limit() -> None:
    llm = services.make_llm(settings(openai_api_key="o", max_reply_tokens=33, llm_model="some-model"))
    assert (llm._settings.max_completion_tokens, llm._settings.model) == (33, "some-model")  # type: ignore[attr-defined]


def test_a_bot_finds_the_settings_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(voice="mine")
    use_settings(given)
    assert current_settings() is given
    use_settings(None)  # type: ignore[arg-type]
    monkeypatch.setenv("SFVOPI_TOKEN_SECRETS", "read")
    assert current_settings().token_keys == ["read"]
