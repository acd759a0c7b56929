"""A receptionist on the telephone: greets, listens, answers briefly, can be interrupted, knows some keys, says goodbye.

The bot of Superfone's guide in today's Pipecat, and the one to copy from. Which services hear, think and speak is
a matter of settings; without any key it is the same bot with offline ones.
"""

from pipecat.frames.frames import EndWorkerFrame, FunctionCallResultProperties, TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker, ProcessorUnusablePolicy
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.runner.types import RunnerArguments
from pipecat.services.llm_service import FunctionCallParams
from pipecat.transports.base_transport import BaseTransport
from pipecat.turns.user_start import TranscriptionUserTurnStartStrategy, VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from shared.settings import WorkerSettings
from shared.telemetry.logs import get_logger
from worker.pipeline import services
from worker.pipeline.checkpoints import CheckpointWatcher, checkpoint
from worker.pipeline.conversation import keep_conversation
from worker.pipeline.dtmf import DTMFRouter
from worker.pipeline.offline.dialogue import CALL_BACK, FAREWELL, OPENING_HOURS
from worker.pipeline.pickup import MuteAtPickUpStrategy
from worker.pipeline.recordings import Recording
from worker.pipeline.transport import SFVoPITransport, is_rehearsal

GREETING = Recording("Hello. Welcome to the Garden Restaurant. How can I help you?")
KEYS = {"1": OPENING_HOURS, "0": CALL_BACK}
PROMPT = (
    "You are the receptionist of the Garden Restaurant and speak on the telephone. Answer in one or two short "
    "sentences, in plain spoken words: no lists, no markup, no emoji, numbers as words. "
    f"{OPENING_HOURS} You can take a reservation: ask for the number of people and the time. If the caller wants a "
    f"human being, say: {CALL_BACK} When the caller says goodbye or has no further wish, call end_call."
)
RATE = 8000  # the trunk's; more costs and gains nothing
PAUSE_S = 0.5  # of the caller's, after which it is the bot's turn

log = get_logger(__name__)


async def bot(runner_args: RunnerArguments) -> None:
    """Answer one call, until it is over."""
    transport = SFVoPITransport.for_call(runner_args)
    settings = services.current_settings()
    if is_rehearsal(runner_args):  # the worker's start: the one time when waiting costs nobody
        await services.warm_up(settings, FAREWELL, *KEYS.values())
        await GREETING.record(services.make_tts(settings))
    context = LLMContext(tools=[end_call])
    conversation = keep_conversation(transport, context, version="1")  # outlives this worker
    pipeline = build_pipeline(
        transport, settings, context, deaf_at_pick_up=not conversation.is_resumed, call_id=runner_args.session_id
    )

    @transport.event_handler("on_client_connected")
    async def greet(_: BaseTransport, __: object) -> None:
        if conversation.is_resumed:
            await conversation.go_on()
        else:
            await transport.say(GREETING)
            await pipeline.queue_frame(checkpoint("greeting_complete"))

    @transport.event_handler("on_client_disconnected")
    async def leave(_: BaseTransport, __: object) -> None:
        await pipeline.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(pipeline)
    await runner.run()


async def end_call(params: FunctionCallParams, farewell: str = FAREWELL) -> None:
    """End the phone call. Use it when the caller has said goodbye or has no further wish.

    Args:
        farewell: The last short sentence that the caller hears, such as "Thank you for calling. Goodbye."
    """
    await params.result_callback({"ended": True}, properties=FunctionCallResultProperties(run_llm=False))
    goodbye = TTSSpeakFrame(farewell)
    goodbye.interruptible = False  # a "bye" of the caller's into ours must not cut it off
    await params.llm.push_frame(goodbye)
    await params.llm.push_frame(EndWorkerFrame(reason="goodbye"))  # downstream, so behind the goodbye


def build_pipeline(
    transport: BaseTransport,
    settings: WorkerSettings,
    context: LLMContext | None = None,
    *,
    deaf_at_pick_up: bool = True,
    call_id: str | None = None,
) -> PipelineWorker:
    """The bot's pipeline over any transport of Pipecat's."""
    llm = services.make_llm(settings)
    llm.append_system_instruction(PROMPT)
    user, assistant = LLMContextAggregatorPair(
        context or LLMContext(tools=[end_call]), user_params=listening(deaf_at_pick_up)
    )
    return PipelineWorker(
        Pipeline(
            [
                transport.input(),
                services.make_stt(settings, audio_passthrough=False),  # nobody behind it listens to audio
                watch_checkpoints(),
                user,
                DTMFRouter(KEYS),  # behind `user`, which mutes interruptions too while it mutes the caller
                llm,
                services.make_tts(settings),
                transport.output(),
                assistant,
            ]
        ),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE, enable_usage_metrics=True),
        # each of these looks at every frame on its way through every processor; silence is the session's to notice
        enable_rtvi=False,
        enable_turn_tracking=settings.is_traced,
        enable_tracing=settings.is_traced,
        conversation_id=call_id,
        idle_timeout_secs=None,
        processor_unusable_policy=ProcessorUnusablePolicy.CANCEL,
    )


def listening(deaf_at_pick_up: bool = True) -> LLMUserAggregatorParams:
    """How turns are taken: voice activity, which the transport notices, starts one at once; a pause ends it."""
    return LLMUserAggregatorParams(
        user_mute_strategies=[MuteAtPickUpStrategy()] if deaf_at_pick_up else [],
        user_turn_strategies=UserTurnStrategies(
            start=[VADUserTurnStartStrategy(), TranscriptionUserTurnStartStrategy()],
            stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=PAUSE_S)],
        ),
    )


def watch_checkpoints() -> CheckpointWatcher:
    """Tells when the caller has heard the greeting to its end."""
    watcher = CheckpointWatcher()

    @watcher.event_handler("on_checkpoint_played")
    async def heard(_: CheckpointWatcher, name: str) -> None:
        log.info("checkpoint_played", name=name)

    return watcher
