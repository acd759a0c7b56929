"""Which service a call gets: the one that is named, else the first whose key is set, else the offline one."""

import asyncio
from typing import Any, TypeVar

from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pydantic import SecretStr

from shared.settings import SettingsError, WorkerSettings
from shared.telemetry.logs import get_logger
from worker.pipeline import vad
from worker.pipeline.services.table import LLM, STT, TTS, Kind, Service

S = TypeVar("S")
log = get_logger(__name__)


def make_stt(settings: WorkerSettings, *, audio_passthrough: bool = True) -> STTService:
    """The speech recognition of one call. Raises `SettingsError` with what to do.

    `audio_passthrough=False` when nobody behind it needs the caller's audio (no VAD, turn analyzer or recorder of the
    bot's own): each processor that audio passes costs as much as the recognition's part of it.
    """
    return _make(STT, settings, audio_passthrough=audio_passthrough)


def make_llm(settings: WorkerSettings) -> LLMService[Any]:
    """The language model of one call. Raises `SettingsError` with what to do."""
    return _make(LLM, settings)


def make_tts(settings: WorkerSettings) -> TTSService:
    """The voice of one call. Raises `SettingsError` with what to do."""
    return _make(TTS, settings)


def chosen_names(settings: WorkerSettings) -> dict[str, str]:
    """The names of the services that calls get: `{"stt": …, "llm": …, "tts": …}`. Raises `SettingsError`."""
    return {
        "stt": _choose(STT, settings).name,
        "llm": _choose(LLM, settings).name,
        "tts": _choose(TTS, settings).name,
    }


async def warm_up(settings: WorkerSettings, *texts: str) -> None:
    """Load what the chosen services need, and have the given texts ready to be said, before calls are taken.

    Raises `SettingsError` for what no call could do without: a missing extra, a wrong model file.
    """
    chosen = chosen_names(settings)
    log.info("services_chosen", **chosen)
    # The first of each kind imports its provider's library, which takes up to a second: not on the event loop.
    await asyncio.to_thread(_make_one_of_each, settings)
    if chosen["stt"] == "whisper":
        from worker.pipeline.offline.whisper import load_model

        await load_model(settings.whisper_model)
    if chosen["tts"] == "piper":
        from worker.pipeline.offline.piper import say_beforehand

        await say_beforehand(settings.piper_url, settings.piper_voice, texts)


def _make_one_of_each(settings: WorkerSettings) -> None:
    make_stt(settings), make_llm(settings), make_tts(settings)
    vad.warm_up()


def _make(kind: Kind[S], settings: WorkerSettings, **options: Any) -> S:
    service = _choose(kind, settings)
    try:
        return service.make(settings, **options)
    except ImportError as error:
        raise SettingsError(
            f"{kind.variable}={service.name} needs what is not installed ({error}): "
            f"pip install 'sfvopi-fleet[{service.extra}]'"
        ) from error


def _choose(kind: Kind[S], settings: WorkerSettings) -> Service[S]:
    name = str(getattr(settings, kind.field)).strip().lower()
    if not name:
        return next(service for service in kind.services if not service.key or _key(service, settings))
    for service in kind.services:
        if service.name == name:
            _require_key(kind, service, settings)
            return service
    known = ", ".join(service.name for service in kind.services)
    raise SettingsError(f"{kind.variable}: {name!r} is not known; known are {known}")


def _require_key(kind: Kind[S], service: Service[S], settings: WorkerSettings) -> None:
    if service.key and not _key(service, settings):
        raise SettingsError(f"{kind.variable}={service.name} needs {service.key.upper()}, which is not set")


def _key(service: Service[S], settings: WorkerSettings) -> str:
    secret: SecretStr = getattr(settings, service.key)
    return secret.get_secret_value()
