"""The services that can be named in SFVOPI_STT, SFVOPI_LLM and SFVOPI_TTS.

A new one is a line here and a function in `providers`. Order is preference: without a name, the first service
whose key is set is taken; the one that needs no key comes last.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService

from worker.pipeline.services import providers

S = TypeVar("S")


@dataclass(frozen=True)
class Service(Generic[S]):
    """One service: its name, how it is made, the field of the settings with its key, the extra that brings it."""

    name: str
    make: Callable[..., S]  # of the settings, and of options that Pipecat's own class takes
    key: str = ""
    extra: str = "worker"


@dataclass(frozen=True)
class Kind(Generic[S]):
    """One kind of service, the setting that names it, and what can be named."""

    field: str
    variable: str
    services: tuple[Service[S], ...]


STT: Kind[STTService] = Kind(
    "stt",
    "SFVOPI_STT",
    (
        Service("deepgram", providers.deepgram_stt, "deepgram_api_key"),
        Service("elevenlabs", providers.elevenlabs_stt, "elevenlabs_api_key"),
        Service("openai", providers.openai_stt, "openai_api_key"),
        Service("whisper", providers.whisper_stt, extra="offline"),
    ),
)
LLM: Kind[LLMService[Any]] = Kind(
    "llm",
    "SFVOPI_LLM",
    (
        Service("openai", providers.openai_llm, "openai_api_key"),
        Service("scripted", providers.scripted_llm),
    ),
)
TTS: Kind[TTSService] = Kind(
    "tts",
    "SFVOPI_TTS",
    (
        Service("cartesia", providers.cartesia_tts, "cartesia_api_key"),
        Service("elevenlabs", providers.elevenlabs_tts, "elevenlabs_api_key"),
        Service("openai", providers.openai_tts, "openai_api_key"),
        Service("piper", providers.piper_tts, extra="offline"),
    ),
)
