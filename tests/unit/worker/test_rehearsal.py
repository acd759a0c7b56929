"""Before the first call: every bot's pipeline is built once, and looked at."""

import pytest
import structlog
from pipecat.audio.vad.vad_analyzer import VADAnalyzer
from pipecat.frames.frames import InputAudioRawFrame
from pipecat.pipeline.parallel_pipeline import ParallelPipeline
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.audio.audio_buffer_processor import AudioBufferProcessor
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService
from pipecat.transports.base_transport import TransportParams
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import (
    ExternalUserTurnStrategies,
    FilterIncompleteUserTurnStrategies,
    UserTurnStrategies,
)
from pipecat.workers.runner import WorkerRunner

from shared.settings.numbers import NumberPlan
from shared.sfvopi.formats import PCMA_8K
from worker.pipeline.anatomy import VAD_REMEDY
from worker.pipeline.transport import SFVoPITransport
from worker.rehearsal import rehearse

PLAN = NumberPlan("test:bot", PCMA_8K)


class NoVad(VADAnalyzer):
    def num_frames_required(self):
        return 256

    def voice_confidence(self, buffer):
        return 0.0


def bot_with(user_params=None, transport_params=None, seen=None, stt=(), **options):
    async def bot(runner_args):
        transport = SFVoPITransport.for_call(runner_args, transport_params, **options)

        @transport.event_handler("on_client_connected")
        async def connected(_, __):
            seen.append("connected")

        if seen is not None:
            seen.append(runner_args.body["rehearsal"])
        user, assistant = LLMContextAggregatorPair(LLMContext(), user_params=user_params)
        worker = PipelineWorker(
            Pipeline([transport.input(), *stt, user, transport.output(), assistant]),
            params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
            enable_rtvi=False,
        )
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        await runner.run()

    return bot


async def test_a_bot_with_vad_in_the_right_place_hears():
    done = await rehearse("b", bot_with(LLMUserAggregatorParams(vad_analyzer=NoVad())), PLAN)
    assert (done.fault, done.hears) == ("", True)


async def test_a_bot_whose_service_decides_on_turns_hears():
    params = LLMUserAggregatorParams(user_turn_strategies=ExternalUserTurnStrategies())
    assert (await rehearse("b", bot_with(params), PLAN)).hears


async def test_a_bot_that_says_nothing_of_vad_hears():
    assert (await rehearse("b", bot_with(), PLAN)).hears


async def test_vad_on_the_transports_parameters_alone_is_called_out_loudly():
    """Pipecat ignores it without a word: the bot talks over its callers, and nothing says why."""
    with structlog.testing.capture_logs() as lines:
        done = await rehearse("b", bot_with(None, TransportParams(vad_analyzer=NoVad()), vad=None), PLAN)
    assert (done.fault, done.hears) == ("", False)
    assert [line["event"] for line in lines if line["log_level"] == "error"] == [VAD_REMEDY]


async def test_a_vad_that_no_audio_reaches_does_not_hear():
    class Recognition(STTService):
        def run_stt(self, audio):
            raise NotImplementedError

    deaf = Recognition(audio_passthrough=False, settings=STTSettings(model=None, language=None))
    bot = bot_with(LLMUserAggregatorParams(vad_analyzer=NoVad()), stt=[deaf], vad=None)
    assert not (await rehearse("b", bot, PLAN)).hears


async def test_a_bot_is_told_that_it_is_a_rehearsal_and_nobody_connects():
    seen = []
    await rehearse("b", bot_with(LLMUserAggregatorParams(vad_analyzer=NoVad()), seen=seen), PLAN)
    assert seen == [True]


async def test_a_rehearsal_that_swallows_its_end_does_not_hold_up_the_start(start_worker):
    fleet = await start_worker(default_bot="test:swallows", rehearsal="require")
    assert fleet.app.health.readiness == "ready"
    assert fleet.app.bots.rehearsals[0].hears


def test_the_remedy_names_the_right_place():
    assert "LLMUserAggregatorParams" in VAD_REMEDY


# -- audio that does not reach who wants it


class Recognition(STTService):
    def __init__(self, **options):
        super().__init__(settings=STTSettings(model=None, language=None), **options)

    def run_stt(self, audio):
        raise NotImplementedError


class Recorder(FrameProcessor):
    """Of a bot's own make."""

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            pass
        await self.push_frame(frame, direction)


class Keys(FrameProcessor):
    """Wants no audio."""

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


DEAF = "audio_passthrough=False of Recognition keeps it away"


def without_analyzer(**more):
    stop = [SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0.5)]
    return LLMUserAggregatorParams(user_turn_strategies=UserTurnStrategies(stop=stop), **more)


@pytest.mark.parametrize(
    ("params", "behind", "named"),
    [
        (None, [], ["turn analyzer of LLMUserAggregator (Pipecat's default)"]),
        (
            LLMUserAggregatorParams(user_turn_strategies=UserTurnStrategies()),
            [],
            ["turn analyzer of LLMUserAggregator"],
        ),
        (
            LLMUserAggregatorParams(user_turn_strategies=FilterIncompleteUserTurnStrategies()),
            [],
            ["turn analyzer of LLMUserAggregator"],
        ),
        (without_analyzer(), [], []),
        (LLMUserAggregatorParams(user_turn_strategies=ExternalUserTurnStrategies()), [], []),
        (without_analyzer(vad_analyzer=NoVad()), [], ["vad_analyzer of LLMUserAggregator"]),
        (without_analyzer(), [AudioBufferProcessor], ["AudioBufferProcessor gets none"]),
        (without_analyzer(), [lambda: VADProcessor(vad_analyzer=NoVad())], ["VADProcessor gets none"]),
        (without_analyzer(), [Recorder, Keys], ["Recorder gets none"]),
        (without_analyzer(), [Recognition], ["Recognition gets none"]),
        (None, [AudioBufferProcessor], ["AudioBufferProcessor gets none", "turn analyzer"]),
    ],
)
async def test_whoever_waits_in_vain_for_the_callers_audio_is_named_with_the_remedy(params, behind, named):
    """Every turn of such a bot ended five seconds late, and neither rehearsal nor doctor said a word."""
    chain = [Recognition(audio_passthrough=False), *(make() for make in behind)]
    with structlog.testing.capture_logs() as lines:
        done = await rehearse("b", bot_with(params, stt=chain), PLAN)
    assert (done.fault, len(done.remarks)) == ("", len(named)), done.remarks
    assert all(part in remark for part, remark in zip(named, done.remarks, strict=True))
    assert all(DEAF in remark and "audio_passthrough=False out" in remark for remark in done.remarks)
    told = [(line["log_level"], line["remark"]) for line in lines if line["event"] == "the rehearsal shows"]
    assert told == [("warning", remark) for remark in done.remarks]
    assert done.hears, "the transport notices speech: no VAD is missing"


async def test_audio_that_passes_reaches_everybody():
    done = await rehearse("b", bot_with(stt=[Recognition(), AudioBufferProcessor(), Recorder()]), PLAN)
    assert done.remarks == ()


async def test_a_branch_beside_the_recognition_has_audio_of_its_own():
    beside = ParallelPipeline([Recognition(audio_passthrough=False)], [Recorder()])
    assert (await rehearse("b", bot_with(without_analyzer(), stt=[beside, Recorder()]), PLAN)).remarks == ()
    both = ParallelPipeline([Recognition(audio_passthrough=False)], [Recognition(audio_passthrough=False)])
    (remark,) = (await rehearse("b", bot_with(without_analyzer(), stt=[both, Recorder()]), PLAN)).remarks
    assert remark.startswith("Recorder gets none")


async def test_the_transport_may_keep_the_audio_to_itself():
    params = TransportParams(audio_in_passthrough=False)
    (remark,) = (await rehearse("b", bot_with(without_analyzer(), params, stt=[Recorder()]), PLAN)).remarks
    assert "audio_in_passthrough=False of the transport keeps it away" in remark
