"""Interruptions: a speaker who can be stopped, and one sentence that cannot.

When the caller begins to speak, Pipecat sends an `InterruptionFrame` down the pipeline, what is queued is dropped,
and the wire gets a `clearAudio`; the carrier's `clearedAudio` comes back as an `InputTransportMessageFrame`. The
transport notices that the caller speaks. Speech with `interruptible = False` is kept.
"""

from pipecat.frames.frames import (
    Frame,
    InputTransportMessageFrame,
    TTSSpeakFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.types import RunnerArguments
from pipecat.transports.base_transport import BaseTransport
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from worker.pipeline.services import current_settings, make_tts
from worker.pipeline.transport import SFVoPITransport

NOTICE = "This sentence is the law, and you will hear it to its end."
STORY = "This is a very long story that nobody wants to hear to its end. " * 6
STOPPED = "As you wish. I have stopped."


class StopsWhenAsked(FrameProcessor):
    """Counts the carrier's acknowledged clears, and answers whoever interrupted when they are done speaking."""

    def __init__(self) -> None:
        super().__init__()
        self.cleared = 0

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if direction is not FrameDirection.DOWNSTREAM:
            return
        if isinstance(frame, InputTransportMessageFrame) and frame.message.get("event") == "clearedAudio":
            self.cleared += 1
        elif isinstance(frame, UserStoppedSpeakingFrame):
            await self.push_frame(TTSSpeakFrame(STOPPED))


async def bot(runner_args: RunnerArguments) -> None:
    """Answer one call."""
    transport = SFVoPITransport.for_call(runner_args)
    turns = UserTurnStrategies(
        start=[VADUserTurnStartStrategy()],
        stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0.4, wait_for_transcript=False)],
    )
    user, _ = LLMContextAggregatorPair(LLMContext(), user_params=LLMUserAggregatorParams(user_turn_strategies=turns))
    pipeline = PipelineWorker(
        Pipeline([transport.input(), user, StopsWhenAsked(), make_tts(current_settings()), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
        enable_rtvi=False,
    )

    @transport.event_handler("on_client_connected")
    async def begin(_: BaseTransport, __: object) -> None:
        notice = TTSSpeakFrame(NOTICE)
        notice.interruptible = False
        await pipeline.queue_frames([notice, TTSSpeakFrame(STORY)])

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(pipeline)
    await runner.run()
