"""What providers were used for, as Pipecat's services report it: counted for the call's bot and number group.

They report only in a pipeline with `enable_usage_metrics`; nothing is estimated for others.
"""

from pipecat.frames.frames import MetricsFrame
from pipecat.metrics.metrics import LLMUsageMetricsData, STTUsageMetricsData, TTSUsageMetricsData

from shared.telemetry.catalogue import LLM_TOKENS, PROVIDERS, STT_AUDIO_SECONDS, TTS_CHARACTERS
from worker.observing import CallWatch


def count_usage(frame: MetricsFrame, watch: CallWatch) -> None:
    """Count what this frame reports; times, of which it may tell as well, are measured elsewhere."""
    for data in frame.data:
        match data:
            case LLMUsageMetricsData():
                provider = provider_named(data.processor)
                watch.used(LLM_TOKENS, data.value.prompt_tokens, provider=provider, kind="prompt")
                watch.used(LLM_TOKENS, data.value.completion_tokens, provider=provider, kind="completion")
            case TTSUsageMetricsData():
                watch.used(TTS_CHARACTERS, data.value, provider=provider_named(data.processor))
            case STTUsageMetricsData():
                watch.used(STT_AUDIO_SECONDS, data.value.audio_seconds or 0, provider=provider_named(data.processor))


def provider_named(text: str) -> str:
    """The provider that a class, or a processor, is named after, as a metric label."""
    return next((provider for provider in PROVIDERS if provider in text.lower()), "other")
