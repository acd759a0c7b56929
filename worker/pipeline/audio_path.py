"""How far the caller's audio comes in a built pipeline, and who behind that point waits for it in vain.

Pipecat says nothing of it: a turn analyzer that gets no audio ends each turn by a timeout, seconds late; a recorder
records half of a call.
"""

from collections.abc import Callable, Iterator
from types import FunctionType

from pipecat.pipeline.parallel_pipeline import ParallelPipeline
from pipecat.processors.aggregators.llm_response_universal import LLMUserAggregator
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.processors.frameworks.rtvi import RTVIProcessor
from pipecat.services.stt_service import STTService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.turns.user_stop import TurnAnalyzerUserTurnStopStrategy
from pipecat.turns.user_turn_processor import UserTurnProcessor

AUDIO = frozenset({"AudioRawFrame", "InputAudioRawFrame"})
NO_LISTENERS = (BaseInputTransport, RTVIProcessor)  # they know the frames, and need none
WITHOUT_ANALYZER = "user_turn_strategies=UserTurnStrategies(stop=[SpeechTimeoutUserTurnStopStrategy(…)])"


def starved(pipeline: FrameProcessor) -> list[str]:
    """A sentence for each processor that wants the caller's audio and gets none, with the remedy."""
    found: list[str] = []
    _follow(pipeline, "", lambda processor, stopped_by: found.extend(_complaints(processor, stopped_by)))
    return found


def _follow(processor: FrameProcessor, stopped_by: str, starves: Callable[[FrameProcessor, str], None]) -> str:
    """Go down the pipeline; returns what stops the audio by its end, empty if it comes through."""
    if isinstance(processor, ParallelPipeline):
        ends = [_follow(branch, stopped_by, starves) for branch in processor.processors]
        return "" if "" in ends else next(iter(ends), stopped_by)
    for inner in processor.processors:
        stopped_by = _follow(inner, stopped_by, starves)
    if stopped_by:
        starves(processor, stopped_by)
    return stopped_by or _stops(processor)


def _stops(processor: FrameProcessor) -> str:
    if isinstance(processor, STTService) and not processor._audio_passthrough:
        return f"audio_passthrough=False of {type(processor).__name__}"
    if isinstance(processor, BaseInputTransport) and not processor._params.audio_in_passthrough:
        return "audio_in_passthrough=False of the transport"
    return ""


def _complaints(processor: FrameProcessor, stopped_by: str) -> Iterator[str]:
    name, without = type(processor).__name__, stopped_by.partition(" of ")[0]
    if isinstance(processor, LLMUserAggregator | UserTurnProcessor):
        if _has_turn_analyzer(processor):
            yield (
                f"the turn analyzer of {name} (Pipecat's default) gets none of the caller's audio, so turns end "
                f"seconds late: {stopped_by} keeps it away. Leave {without} out, or give {WITHOUT_ANALYZER}"
            )
        if getattr(processor, "_vad_controller", None) is not None:
            yield (
                f"the vad_analyzer of {name} gets none of the caller's audio: {stopped_by} keeps it away. Leave the "
                f"analyzer out, for the transport notices speech itself; or leave {without} out"
            )
    elif isinstance(processor, VADProcessor) or _takes_audio(type(processor)):
        yield f"{name} gets none of the caller's audio: {stopped_by} keeps it away. Leave {without} out"


def _has_turn_analyzer(processor: LLMUserAggregator | UserTurnProcessor) -> bool:
    strategies = processor._user_turn_controller.user_turn_strategies.stop or []
    inner = (getattr(strategy, "inner", strategy) for strategy in strategies)
    return any(isinstance(strategy, TurnAnalyzerUserTurnStopStrategy) for strategy in inner)


def _takes_audio(kind: type[FrameProcessor]) -> bool:
    """Whether the code of a processor knows the frames of the caller's audio: so do recorders of any make."""
    if issubclass(kind, NO_LISTENERS):
        return False
    own = kind.__mro__[: kind.__mro__.index(FrameProcessor)]
    functions = (value for cls in own for value in vars(cls).values() if isinstance(value, FunctionType))
    return any(AUDIO & set(function.__code__.co_names) for function in functions)
