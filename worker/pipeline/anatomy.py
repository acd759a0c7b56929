"""What a built pipeline consists of: is speech detection wired, does another provider stand by."""

from collections.abc import Iterator

from pipecat.pipeline.pipeline import PipelineSink
from pipecat.pipeline.service_switcher import ServiceSwitcher, ServiceSwitcherStrategy
from pipecat.processors.aggregators.llm_response_universal import LLMAssistantAggregator, LLMUserAggregator
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.stt_service import STTService
from pipecat.turns.user_turn_processor import UserTurnProcessor
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies

VAD_REMEDY = (
    "no speech detection (VAD) is wired in this bot: callers cannot interrupt it. Leave it to the transport (no "
    "vad=None for SFVoPITransport), or give vad_analyzer= to LLMUserAggregatorParams and audio_passthrough=True to the "
    "recognition before it; on TransportParams it is silently ignored"
)


def processors_in(processor: FrameProcessor) -> Iterator[FrameProcessor]:
    """The processor and all within it."""
    yield processor
    for inner in processor.processors:
        yield from processors_in(inner)


def has_speech_detection(pipeline: FrameProcessor) -> bool:
    """Whether something in the pipeline notices that the caller speaks: a VAD, or a service that decides on turns.

    The transport's own counts if somebody takes turns by it.
    """
    processors = list(processors_in(pipeline))
    audio_comes_by = True
    for processor in processors:
        if getattr(processor, "detects_speech", False):
            return any(isinstance(other, LLMUserAggregator | UserTurnProcessor) for other in processors)
        if isinstance(processor, STTService):
            audio_comes_by = processor._audio_passthrough
        elif isinstance(processor, VADProcessor):
            if audio_comes_by:
                return True
        elif isinstance(processor, LLMUserAggregator):
            params = processor._params
            if params.vad_analyzer is not None and audio_comes_by:
                return True
            if isinstance(params.user_turn_strategies, ExternalUserTurnStrategies):
                return True
    return False


def transport_detects_speech(pipeline: FrameProcessor) -> bool:
    """Whether the transport notices it, whoever makes something of that."""
    return any(getattr(processor, "detects_speech", False) for processor in processors_in(pipeline))


def is_audio_wanted_behind(processor: FrameProcessor, pipeline: FrameProcessor) -> bool:
    """Whether somebody behind this processor may do something with the bot's audio, such as record it."""
    everybody = list(processors_in(pipeline))
    behind = everybody[everybody.index(processor) + 1 :]
    return any(type(other) not in (LLMAssistantAggregator, PipelineSink) for other in behind)


def has_substitute(service: FrameProcessor, pipeline: FrameProcessor) -> bool:
    """Whether another service stands in for this one: it does already, or takes over by itself where this one fails."""
    for processor in processors_in(pipeline):
        if isinstance(processor, ServiceSwitcher) and service in processor.services:
            strategy = processor.strategy
            if strategy.active_service is not service:
                return True
            fails_over = type(strategy).handle_error is not ServiceSwitcherStrategy.handle_error
            return fails_over and any(other is not service and other.is_usable for other in processor.services)
    return False
