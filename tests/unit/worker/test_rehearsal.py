"""Before the first call: every bot's pipeline is built once, and looked at."""

import structlog
from pipecat.audio.vad.vad_analyzer import VADAnalyzer
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService
from pipecat.transports.base_transport import TransportParams
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies
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
    assert not fleet.app.bots.rehearsals[0].hears


def test_the_remedy_names_the_right_place():
    assert "LLMUserAggregatorParams" in VAD_REMEDY
