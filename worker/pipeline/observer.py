"""Pipecat's frames → what the call's watch wants to know. One observer per call, told of each frame once."""

import time

from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    InterimTranscriptionFrame,
    LLMContextAssistantTimestampFrame,
    LLMContextFrame,
    LLMTextFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.dtmf_aggregator import DTMFAggregator
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.ai_service import AIService
from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.utils.errors import ErrorCategory

from shared.telemetry.catalogue import PROVIDERS
from worker.observing import CallWatch
from worker.pipeline.anatomy import has_substitute
from worker.providers import Failure, Service

FAULTS: dict[ErrorCategory, str] = {
    ErrorCategory.AUTHENTICATION: "auth",
    ErrorCategory.AUTHORIZATION: "auth",
    ErrorCategory.RATE_LIMIT: "rate_limit",
    ErrorCategory.QUOTA: "rate_limit",
    ErrorCategory.CONNECTIVITY: "connection",
    ErrorCategory.SERVER: "server",
}


# a turn of the caller's, one of the bot's, a tool's beginning and end
CONVERSATION = (
    LLMContextFrame | LLMContextAssistantTimestampFrame | FunctionCallInProgressFrame | FunctionCallResultFrame
)


class CallObserver(BaseObserver):
    """Tells the watch of one call what goes through its pipeline."""

    def __init__(self, watch: CallWatch, pipeline: PipelineWorker) -> None:
        super().__init__(observe_every_push=False)
        self._watch = watch
        self._pipeline = pipeline

    async def on_pipeline_started(self) -> None:
        self._watch.pipeline_started.set()

    async def on_push_frame(self, data: FramePushed) -> None:
        frame, watch = data.frame, self._watch
        if isinstance(frame, TranscriptionFrame):
            # keys that were turned into text are no speech
            if frame.text.strip() and not isinstance(data.source, DTMFAggregator):
                watch.caller_transcribed(frame.text)
                watch.providers.lives(Service.STT)
        elif isinstance(frame, LLMTextFrame):
            watch.turns.llm_spoke(time.monotonic())
            watch.providers.lives(Service.LLM)
        elif isinstance(frame, InterimTranscriptionFrame | UserStartedSpeakingFrame):
            watch.active()
        elif isinstance(frame, CONVERSATION):
            watch.conversation_changed.set()
        elif isinstance(frame, EndFrame):
            watch.end_seen_at = watch.end_seen_at or time.monotonic()
        elif isinstance(frame, ErrorFrame):
            failure = failure_of(frame, data.source, self._pipeline)
            if failure is not None:
                watch.provider_failed(failure)


def failure_of(frame: ErrorFrame, source: FrameProcessor, pipeline: PipelineWorker) -> Failure | None:
    """The failure of a provider that this error is; None if it is the bot's own."""
    processor = frame.processor or source
    if not isinstance(processor, AIService) or frame.category is ErrorCategory.APPLICATION:
        return None
    permanent = bool(frame.category and frame.category.is_permanent) or not processor.is_usable or bool(frame.fatal)
    replaced = has_substitute(processor, pipeline.pipeline)
    return Failure(provider_of(processor), fault_of(frame), service_of(processor), permanent, replaced)


def service_of(processor: FrameProcessor) -> Service:
    if isinstance(processor, STTService):
        return Service.STT
    return Service.LLM if isinstance(processor, LLMService) else Service.TTS


def provider_of(processor: FrameProcessor) -> str:
    """The provider's name as a metric label, from where its service is defined."""
    names = " ".join(f"{cls.__module__}.{cls.__name__}".lower() for cls in type(processor).__mro__)
    return next((provider for provider in PROVIDERS if provider in names), "other")


def fault_of(frame: ErrorFrame) -> str:
    """The kind of fault as a metric label: by its category, else by the exception or the text of the error."""
    if isinstance(frame.exception, TimeoutError):
        return "timeout"
    if frame.category in FAULTS:
        return FAULTS[frame.category]
    if isinstance(frame.exception, OSError):
        return "connection"
    text = frame.error.lower()
    clues = {"401": "auth", "403": "auth", "429": "rate_limit", "timeout": "timeout", "timed out": "timeout"}
    return next((fault for clue, fault in clues.items() if clue in text), "other")
