"""How each service is made for a telephone line. Imports wait until a service is wanted: they are slow and optional.

No sample rate is given here: every service takes the pipeline's, which is 8 kHz, the trunk's own.
"""

from typing import Any
from urllib.parse import urlsplit

from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService

from shared.settings import SettingsError, WorkerSettings
from shared.settings.fleet import read_file

# Public voices of the providers, for a first call; SFVOPI_VOICE takes one's own.
CARTESIA_VOICE = "71a7ad14-091c-4e8e-a314-022ece01c121"
ELEVENLABS_VOICE = "21m00Tcm4TlvDq8ikWAM"
OPENAI_VOICE = "alloy"


def deepgram_stt(settings: WorkerSettings, **options: Any) -> STTService:
    from worker.pipeline.services.deepgram import DeepgramSTTService

    return DeepgramSTTService(
        api_key=settings.deepgram_api_key.get_secret_value(), base_url=settings.deepgram_url, **options
    )


def elevenlabs_stt(settings: WorkerSettings, **options: Any) -> STTService:
    from pipecat.services.elevenlabs.stt import ElevenLabsRealtimeSTTService

    host = urlsplit(settings.elevenlabs_url).netloc or "api.elevenlabs.io"
    return ElevenLabsRealtimeSTTService(
        api_key=settings.elevenlabs_api_key.get_secret_value(), base_url=host, **options
    )


def openai_stt(settings: WorkerSettings, **options: Any) -> STTService:
    from pipecat.services.openai.stt import OpenAISTTService

    from worker.pipeline.services.openai import http_client

    return OpenAISTTService(
        api_key=settings.openai_api_key.get_secret_value(),
        base_url=settings.openai_base_url or None,
        http_client=http_client(),
        **options,
    )


def whisper_stt(settings: WorkerSettings, **options: Any) -> STTService:
    from worker.pipeline.offline.whisper import SharedWhisperSTTService

    return SharedWhisperSTTService(folder=settings.whisper_model, **options)


def openai_llm(settings: WorkerSettings) -> LLMService[Any]:
    from worker.pipeline.services.openai import PhoneOpenAILLMService

    return PhoneOpenAILLMService(
        api_key=settings.openai_api_key.get_secret_value(),
        base_url=settings.openai_base_url or None,
        settings=PhoneOpenAILLMService.Settings(
            model=settings.llm_model, max_completion_tokens=settings.max_reply_tokens
        ),
    )


def scripted_llm(settings: WorkerSettings) -> LLMService[Any]:
    from worker.pipeline.offline.rules import Rules, RulesError
    from worker.pipeline.offline.scripted import ScriptedLLMService

    if settings.script is None:
        return ScriptedLLMService()
    try:
        return ScriptedLLMService(rules=Rules.parse(read_file("SFVOPI_SCRIPT", settings.script)))
    except RulesError as error:
        raise SettingsError(f"SFVOPI_SCRIPT: {settings.script}: {error}") from None


def cartesia_tts(settings: WorkerSettings) -> TTSService:
    from pipecat.services.cartesia.tts import CartesiaTTSService

    return CartesiaTTSService(
        api_key=settings.cartesia_api_key.get_secret_value(),
        settings=CartesiaTTSService.Settings(voice=settings.voice or CARTESIA_VOICE),
        url=settings.cartesia_url or "wss://api.cartesia.ai/tts/websocket",
    )


def elevenlabs_tts(settings: WorkerSettings) -> TTSService:
    from pipecat.services.elevenlabs.tts import ElevenLabsTTSService

    return ElevenLabsTTSService(
        api_key=settings.elevenlabs_api_key.get_secret_value(),
        settings=ElevenLabsTTSService.Settings(voice=settings.voice or ELEVENLABS_VOICE),
        url=settings.elevenlabs_url or "wss://api.elevenlabs.io",
    )


def openai_tts(settings: WorkerSettings) -> TTSService:
    from pipecat.services.openai.tts import OpenAITTSService

    from worker.pipeline.services.openai import http_client

    return OpenAITTSService(  # it speaks at 24 kHz only, so this one says so and the transport resamples
        api_key=settings.openai_api_key.get_secret_value(),
        base_url=settings.openai_base_url or None,
        http_client=http_client(),
        sample_rate=24000,
        settings=OpenAITTSService.Settings(voice=settings.voice or OPENAI_VOICE),
    )


def piper_tts(settings: WorkerSettings) -> TTSService:
    from worker.pipeline.offline.piper import PiperTTSService

    return PiperTTSService(url=settings.piper_url, voice=settings.piper_voice)
