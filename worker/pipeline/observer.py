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
    FunctionCallCancelFrame,
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    FunctionCallsStartedFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMContextAssistantTimestampFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    UserMuteStartedFrame,
    UserMuteStoppedFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.base_pipeline import BasePipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.dtmf_aggregator import DTMFAggregator
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.services.tts_service import TTSService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport

from worker.observing import CallWatch
from worker.pipeline.anatomy import processors_in
from worker.pipeline.failures import failure_of, recogniser_gone, recognisers_in
from worker.pipeline.finish import pipelines_beside

PASS_ON = (BasePipeline, BaseInputTransport, BaseOutputTransport)  # what they push is others', or audio


class CallObserver:
    """Tells the watch of one call what goes through its pipeline."""

    def __init__(self, watch: CallWatch, pipeline: PipelineWorker) -> None:
        self._watch = watch
        self._pipeline = pipeline
        self._told: deque[int] = deque(maxlen=256)  # frames' ids: the next processor pushes them on
        self._seen: set[PipelineWorker] = set()
        watch.health.recogniser_gone = lambda: recogniser_gone(pipeline)
        pipeline.add_event_handler("on_pipeline_started", self._started)
        self._look_at(pipeline)

    def _look_at(self, pipeline: PipelineWorker) -> None:
        self._seen.add(pipeline)
        for processor in processors_in(pipeline.pipeline):
            if isinstance(processor, TTSService):
                processor.add_event_handler("on_error", self._pushed)
                processor.add_event_handler("on_tts_request", self._words_given)
            elif not isinstance(processor, PASS_ON):
                processor.add_event_handler("on_before_push_frame", self._pushed)

    def _started(self, *_: object) -> None:
        self._watch.pipeline_started.set()
        for worker in pipelines_beside(self._pipeline):  # a bot of several, whose model may be in another one
            if worker not in self._seen:
                self._look_at(worker)

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
        if isinstance(source, DTMFAggregator):
            self._watch.health.caller_understood(time.monotonic())
        elif frame.text.strip():
            self._watch.caller_transcribed(frame.text)

    def _model_spoke(self, _: LLMTextFrame, source: FrameProcessor) -> None:
        self._watch.turns.llm_spoke(time.monotonic())
        self._watch.health.model_gave(source.name)

    def _half_heard(self, _: InterimTranscriptionFrame, __: FrameProcessor) -> None:
        self._watch.active()
        self._watch.health.hears()

    def _caller_spoke(self, _: Frame, __: FrameProcessor) -> None:
        self._watch.health.caller_spoke(time.monotonic())

    def _caller_stopped(self, _: Frame, __: FrameProcessor) -> None:
        self._watch.health.caller_stopped(time.monotonic())

    def _turn_ended(self, _: UserStoppedSpeakingFrame, __: FrameProcessor) -> None:
        if not recognisers_in(self._pipeline):  # the model hears by itself
            self._watch.health.caller_understood(time.monotonic())

    def _muted(self, frame: Frame, _: FrameProcessor) -> None:
        self._watch.health.caller_muted(isinstance(frame, UserMuteStartedFrame))

    def _interrupted(self, _: InterruptionFrame, __: FrameProcessor) -> None:
        self._watch.health.interrupted(time.monotonic())

    def _model_asked(self, _: LLMFullResponseStartFrame, source: FrameProcessor) -> None:
        if isinstance(source, LLMService):
            self._watch.health.model_asked(source.name, time.monotonic())

    def _model_done(self, _: LLMFullResponseEndFrame, source: FrameProcessor) -> None:
        self._watch.health.model_done(source.name, time.monotonic())

    def _tools_called(self, frame: FunctionCallsStartedFrame, source: FrameProcessor) -> None:
        self._watch.health.model_gave(source.name)
        for call in frame.function_calls:
            self._watch.health.tool_began(call.tool_call_id)

    def _tool_runs(self, frame: FunctionCallInProgressFrame, source: FrameProcessor) -> None:
        self._watch.conversation_changed.set()
        is_known = not isinstance(source, LLMService) or source.has_function(frame.function_name)
        self._watch.tool_runs(frame.tool_call_id, frame.function_name, frame.arguments, is_known=is_known)

    def _tool_ended(self, frame: FunctionCallResultFrame | FunctionCallCancelFrame, _: FrameProcessor) -> None:
        self._watch.conversation_changed.set()
        properties = getattr(frame, "properties", None)
        if properties is not None and not properties.is_final:
            return
        self._watch.health.tool_ended(frame.tool_call_id, time.monotonic())
        if isinstance(frame, FunctionCallCancelFrame):  # only a deadline's asks the model to go on
            self._watch.tool_ended(frame.tool_call_id, "timeout" if frame.run_llm else "cancelled")
        elif frame.error:
            exception = frame.error.partition(":")[0]
            self._watch.tool_ended(frame.tool_call_id, "raised", frame.error, exception=exception)
        else:
            self._watch.tool_ended(frame.tool_call_id, "ok", frame.result)

    def _words_given(self, voice: TTSService, _: str, text: str) -> None:
        self._watch.health.words_given(text, time.monotonic(), voice.name)

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
    InterimTranscriptionFrame: CallObserver._half_heard,
    UserStartedSpeakingFrame: CallObserver._active,
    # a turn of the caller's, one of the bot's, a tool's beginning and end
    LLMContextFrame: CallObserver._conversation_changed,
    LLMContextAssistantTimestampFrame: CallObserver._conversation_changed,
    FunctionCallInProgressFrame: CallObserver._tool_runs,
    FunctionCallResultFrame: CallObserver._tool_ended,
    FunctionCallCancelFrame: CallObserver._tool_ended,
    FunctionCallsStartedFrame: CallObserver._tools_called,
    # what the caller waits for, and what is on its way to them
    VADUserStartedSpeakingFrame: CallObserver._caller_spoke,
    VADUserStoppedSpeakingFrame: CallObserver._caller_stopped,
    UserStoppedSpeakingFrame: CallObserver._turn_ended,
    UserMuteStartedFrame: CallObserver._muted,
    UserMuteStoppedFrame: CallObserver._muted,
    InterruptionFrame: CallObserver._interrupted,
    LLMFullResponseStartFrame: CallObserver._model_asked,
    LLMFullResponseEndFrame: CallObserver._model_done,
    EndFrame: CallObserver._ends,
    ErrorFrame: CallObserver._failed,
}


_ACT_OF: dict[type[Frame], Act | None] = {}  # of every kind that was seen
