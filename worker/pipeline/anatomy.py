"""What a built pipeline consists of: is speech detection wired, does another provider stand by."""

from collections.abc import Iterator

from pipecat.pipeline.service_switcher import ServiceSwitcher, ServiceSwitcherStrategyFailover
from pipecat.processors.aggregators.llm_response_universal import LLMUserAggregator
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies

VAD_REMEDY = (
    "no speech detection (VAD) is wired in this bot: callers cannot interrupt it. Give vad_analyzer= to "
    "LLMUserAggregatorParams; on TransportParams it is silently ignored"
)


def processors_in(processor: FrameProcessor) -> Iterator[FrameProcessor]:
    """The processor and all within it."""
    yield processor
    for inner in processor.processors:
        yield from processors_in(inner)


def has_speech_detection(pipeline: FrameProcessor) -> bool:
    """Whether something in the pipeline notices that the caller speaks: a VAD, or a service that decides on turns."""
    for processor in processors_in(pipeline):
        if isinstance(processor, VADProcessor):
            return True
        if isinstance(processor, LLMUserAggregator):
            params = processor._params
            if params.vad_analyzer is not None:
                return True
            if isinstance(params.user_turn_strategies, ExternalUserTurnStrategies):
                return True
    return False


def has_substitute(service: FrameProcessor, pipeline: FrameProcessor) -> bool:
    """Whether another service takes over by itself where this one failed."""
    for processor in processors_in(pipeline):
        if isinstance(processor, ServiceSwitcher) and service in processor.services:
            fails_over = isinstance(processor.strategy, ServiceSwitcherStrategyFailover)
            return fails_over and any(other is not service and other.is_usable for other in processor.services)
    return False
