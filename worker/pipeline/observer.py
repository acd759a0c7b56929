"""Pipecat's frames → what the call's watch wants to know, each of them once.

Not one of Pipecat's observers, for which every step of every frame is put into a queue that another task reads: this
is called by the processors, does its work at once, and has none with what it does not know. Those through which audio
goes do not call it, for they bring forth nothing that it wants; but for a voice's failures, which it is told of.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    InterimTranscriptionFrame,
    LLMContextAssistantTimestampFrame,
    LLMContextFrame,
    LLMTextFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
)
from pipecat.pipeline.base_pipeline import BasePipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.dtmf_aggregator import DTMFAggregator
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.ai_service import AIService
from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.utils.errors import ErrorCategory

from shared.telemetry.catalogue import PROVIDERS
from worker.observing import CallWatch
from worker.pipeline.anatomy import has_substitute, processors_in
from worker.providers import Failure, Service

FAULTS: dict[ErrorCategory, str] = {
    ErrorCategory.AUTHENTICATION: "auth",
    ErrorCategory.AUTHORIZATION: "auth",
    ErrorCategory.RATE_LIMIT: "rate_limit",
    ErrorCategory.QUOTA: "rate_limit",
    ErrorCategory.CONNECTIVITY: "connection",
    ErrorCategory.SERVER: "server",
}

PASS_ON = (BasePipeline, BaseInputTransport, BaseOutputTransport)  # what they push is others', or audio


class CallObserver:
    """Tells the watch of one call what goes through its pipeline."""

    def __init__(self, watch: CallWatch, pipeline: PipelineWorker) -> None:
        self._watch = watch
        self._pipeline = pipeline
        self._told: deque[int] = deque(maxlen=256)  # frames' ids: the next processor pushes them on
        pipeline.add_event_handler("on_pipeline_started", self._started)
        for processor in processors_in(pipeline.pipeline):
            if isinstance(processor, TTSService):
                processor.add_event_handler("on_error", self._pushed)
            elif not isinstance(processor, PASS_ON):
                processor.add_event_handler("on_before_push_frame", self._pushed)

    def _started(self, *_: object) -> None:
        self._watch.pipeline_started.set()

    def _pushed(self, source: FrameProcessor, frame: Frame) -> None:
        kind = type(frame)
        if kind not in _ACT_OF:
            _ACT_OF[kind] = next((act for wanted, act in ACTS.items() if issubclass(kind, wanted)), None)
        act = _ACT_OF[kind]
        if act is not None and frame.id not in self._told:
            self._told.append(frame.id)
            act(self, frame, source)

    def _transcribed(self, frame: TranscriptionFrame, source: FrameProcessor) -> None:
        # keys that were turned into text are no speech
        if frame.text.strip() and not isinstance(source, DTMFAggregator):
            self._watch.caller_transcribed(frame.text)
            self._watch.providers.lives(Service.STT)

    def _model_spoke(self, _: LLMTextFrame, __: FrameProcessor) -> None:
        self._watch.turns.llm_spoke(time.monotonic())
        self._watch.providers.lives(Service.LLM)

    def _active(self, _: Frame, __: FrameProcessor) -> None:
        self._watch.active()

    def _conversation_changed(self, _: Frame, __: FrameProcessor) -> None:
        self._watch.conversation_changed.set()

    def _ends(self, _: EndFrame, __: FrameProcessor) -> None:
        self._watch.end_seen_at = self._watch.end_seen_at or time.monotonic()

    def _failed(self, frame: ErrorFrame, source: FrameProcessor) -> None:
        failure = failure_of(frame, source, self._pipeline)
        if failure is not None:
            self._watch.provider_failed(failure)


Act = Callable[[CallObserver, Any, FrameProcessor], None]

ACTS: dict[type[Frame], Act] = {
    TranscriptionFrame: CallObserver._transcribed,
    LLMTextFrame: CallObserver._model_spoke,
    InterimTranscriptionFrame: CallObserver._active,
    UserStartedSpeakingFrame: CallObserver._active,
    # a turn of the caller's, one of the bot's, a tool's beginning and end
    LLMContextFrame: CallObserver._conversation_changed,
    LLMContextAssistantTimestampFrame: CallObserver._conversation_changed,
    FunctionCallInProgressFrame: CallObserver._conversation_changed,
    FunctionCallResultFrame: CallObserver._conversation_changed,
    EndFrame: CallObserver._ends,
    ErrorFrame: CallObserver._failed,
}


_ACT_OF: dict[type[Frame], Act | None] = {}  # of every kind that was seen


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
