"""This project's receptionist as it is, with the benchmark's providers: run by a real worker through SFVOPI_BOT."""

import dataclasses

from pipecat.processors.aggregators.llm_response_universal import LLMUserAggregatorParams
from pipecat.runner.types import RunnerArguments
from pipecat.turns.user_stop import TurnAnalyzerUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies

from shared.settings import WorkerSettings
from tests.bench.providers import BenchLLM, BenchSTT, BenchTTS
from worker.bots import receptionist
from worker.capacity.loop_lag import sample_this_loop
from worker.pipeline import services, vad
from worker.pipeline.turn import SharedSmartTurnAnalyzer

usual_listening = receptionist.listening


async def bot(runner_args: RunnerArguments) -> None:
    """The first one is the worker's rehearsal: from then on its loop is sampled."""
    sample_this_loop()
    await receptionist.bot(runner_args)


async def with_smart_turn(runner_args: RunnerArguments) -> None:
    """A model decides when the caller has finished."""
    receptionist.listening = listening_with_smart_turn
    services.make_stt = lambda settings, **_: BenchSTT()  # the model hears the caller, too
    await bot(runner_args)


def listening_with_smart_turn(deaf_at_pick_up: bool = True) -> LLMUserAggregatorParams:
    usual = usual_listening(deaf_at_pick_up)
    assert usual.user_turn_strategies is not None
    decided = TurnAnalyzerUserTurnStopStrategy(turn_analyzer=SharedSmartTurnAnalyzer())
    strategies = UserTurnStrategies(usual.user_turn_strategies.start, [decided])
    return dataclasses.replace(usual, user_turn_strategies=strategies)


async def warm_up(settings: WorkerSettings, *texts: str) -> None:
    """Nothing but the VAD has to be loaded."""
    vad.warm_up()


services.make_stt = lambda settings, **options: BenchSTT(**options)
services.make_llm = lambda settings: BenchLLM()
services.make_tts = lambda settings: BenchTTS()
services.warm_up = warm_up
