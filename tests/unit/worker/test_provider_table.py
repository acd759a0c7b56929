"""The table of `worker/provider_health.py` with Pipecat's own services, against servers of their protocols.

Each scene is played twice at the same time, over Pipecat's stock transport as the control: where the stock call goes
on, ours goes on; where ours is given up, the caller of the stock one heard nothing either.
"""

import asyncio
import time
import wave
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import websockets
from pipecat.frames.frames import LLMContextSummaryRequestFrame, LLMRunFrame, TTSSpeakFrame
from pipecat.pipeline.parallel_pipeline import ParallelPipeline
from pipecat.pipeline.service_switcher import (
    ServiceSwitcher,
    ServiceSwitcherStrategyFailover,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.filters.function_filter import FunctionFilter
from pipecat.services.llm_service import FunctionCallParams

from shared.calls.outcome import Reason
from tests.fakes.twice import Bot, Plan, Stage, ours, providers, run, stock
from worker.pipeline.transport import SFVoPITransport
from worker.provider_health import TABLE, Doing, Trouble, Wait

ANSWER_S, GREETING_S = 1.5, 2.5
APOLOGY_S = 0.4
MARGIN_S = 2.0  # for a machine that others use as well
T, D = Trouble, Doing
PLAIN = Plan()


@dataclass(frozen=True)
class Scene:
    """A cell, what leads into it, and for a call that is given up the detail of its record."""

    cell: tuple[Trouble, Doing]
    name: str
    plays: Callable[[Stage], Awaitable[None]]
    detail: str = ""
    plan: Plan = PLAIN
    at_first: dict[str, str] = field(default_factory=dict)  # faults, from before the call
    others: dict[str, str] = field(default_factory=dict)
    answer_s: float = ANSWER_S
    goes_on: bool = True  # the stock call, when all is well again; False: stock does not recover from this
    ends_s: float = 0.0  # more time for the failure itself: retries of a client, a voice's time to say something

    @property
    def is_given_up(self) -> bool:
        return bool(self.detail)


# -- what leads into a cell


async def nothing(_: Stage) -> None:
    """The failure is there from the beginning."""


async def greeted(stage: Stage) -> None:
    await stage.greeted()


async def turn(stage: Stage) -> None:
    """The caller's turn, after the greeting."""
    await stage.greeted()
    await stage.caller.speaks()


async def answered(stage: Stage) -> None:
    await stage.greeted()
    for _ in range(3):  # a turn may be lost on a busy machine, over either transport
        await stage.caller.speaks()
        if await stage.caller.hears_all(5):
            return
    raise AssertionError("an answer")


def faulty_turn(**faults: str) -> Callable[[Stage], Awaitable[None]]:
    """A turn whose answer fails."""

    async def plays(stage: Stage) -> None:
        await stage.greeted()
        stage.faults(**faults)
        await stage.caller.speaks()

    return plays


def first_turn_then(**faults: str) -> Callable[[Stage], Awaitable[None]]:
    """A good turn, then one whose answer fails."""

    async def plays(stage: Stage) -> None:
        await answered(stage)
        stage.faults(**faults)
        await stage.caller.speaks()

    return plays


def cut_while_it_listens(name: str) -> Callable[[Stage], Awaitable[None]]:
    async def plays(stage: Stage) -> None:
        assert await stage.caller.hears(10)
        stage.cut(name)

    return plays


async def recogniser_cut_in_speech(stage: Stage) -> None:
    await stage.greeted()
    await stage.caller.begins()
    stage.cut("deepgram")
    await asyncio.sleep(1.0)


async def recogniser_gone_in_speech(stage: Stage) -> None:
    await stage.greeted()
    await stage.caller.begins()
    stage.faults(deepgram="503")
    stage.cut("deepgram")
    await asyncio.sleep(1.0)


async def recogniser_gone_before_they_speak(stage: Stage) -> None:
    await stage.greeted()
    stage.faults(deepgram="503")
    stage.cut("deepgram")
    await asyncio.sleep(0.5)
    await stage.caller.speaks()


async def recogniser_dead_while_they_speak(stage: Stage) -> None:
    await stage.greeted()
    await stage.caller.begins()


async def voice_cut_in_its_sentence(stage: Stage) -> None:
    await turn(stage)
    assert await stage.caller.hears()
    stage.cut("cartesia")


async def voice_cut_between_turns(stage: Stage) -> None:
    await answered(stage)
    stage.cut("cartesia")
    await asyncio.sleep(0.3)


async def model_breaks_off(stage: Stage) -> None:
    await stage.greeted()
    stage.fakes.openai.seconds_per_token = 0.12
    stage.fakes.deepgram.heard = "tell me a long story"
    stage.faults(openai="drop:3.0")
    await stage.caller.speaks()
    assert await stage.caller.hears_all()
    stage.fakes.openai.seconds_per_token = 0.0


async def emoji_at_the_end(stage: Stage) -> None:
    await stage.greeted()
    stage.fakes.deepgram.heard = "thumbs up please"
    await stage.caller.speaks()
    assert await stage.caller.hears_all()


async def emoji_alone(stage: Stage) -> None:
    await stage.greeted()
    await stage.queue(TTSSpeakFrame("👍"))


async def dots_alone(stage: Stage) -> None:
    await stage.greeted()
    await stage.queue(TTSSpeakFrame("..."))


async def summary_fails(stage: Stage) -> None:
    await answered(stage)
    stage.faults(openai="401")
    context = LLMContext(messages=[{"role": "user", "content": f"word {number}"} for number in range(9)])
    await stage.queue(
        LLMContextSummaryRequestFrame(
            request_id="1",
            context=context,
            min_messages_to_keep=1,
            target_context_tokens=100,
            summarization_prompt="so",
        )
    )
    await asyncio.sleep(0.5)


async def bot_speaks_up(stage: Stage) -> None:
    """Of itself, long after it has answered: "are you still there?"."""
    await answered(stage)
    stage.faults(openai="401")
    await stage.queue(LLMRunFrame())


async def model_runs_under_the_greeting(stage: Stage) -> None:
    stage.faults(openai="429")
    await stage.queue(LLMRunFrame())
    await stage.greeted()


async def filler_then_nothing(stage: Stage) -> None:
    await stage.greeted()
    stage.faults(openai="500")
    await stage.caller.speaks()
    await asyncio.sleep(0.5)
    await stage.queue(TTSSpeakFrame("One moment."))
    assert await stage.caller.hears_all()


async def filler_without_sound(stage: Stage) -> None:
    """The voice fails on it; the answer comes a little later."""
    await stage.greeted()
    stage.fakes.openai.latency_s = 3.0
    stage.faults(cartesia="error")
    await stage.caller.speaks()
    await stage.queue(TTSSpeakFrame("One moment."))
    await asyncio.sleep(1.0)
    stage.faults(cartesia="")
    assert await stage.caller.hears_all()
    stage.fakes.openai.latency_s = 0.1


async def two_turns(stage: Stage) -> None:
    """The first makes the switcher go on to the other service, which is asked in the second only."""
    await stage.greeted()
    stage.faults(openai="401")
    await stage.caller.speaks()
    await asyncio.sleep(1.2)
    await stage.caller.speaks()


async def caller_speaks_up(stage: Stage) -> None:
    """The model fails, and the caller asks again before patience is at its end."""
    await stage.greeted()
    stage.faults(openai="401")
    await stage.caller.speaks()
    await asyncio.sleep(0.8)
    stage.faults(openai="")
    await stage.caller.begins()
    await asyncio.sleep(0.5)


# -- bots


def switcher(first: Callable[[Bot], Any], second: Callable[[Bot], Any], strategy: Any) -> Callable[[Bot], Any]:
    return lambda bot: ServiceSwitcher([first(bot), second(bot)], strategy_type=strategy)


def other_model(bot: Bot) -> Any:
    return bot.model(bot.other)


def other_voice(bot: Bot) -> Any:
    return bot.elevenlabs(bot.other)


async def _none(_: Any) -> bool:
    return False


def beside_a_classifier(bot: Bot) -> Any:
    """The bot's model, and one that classifies: its branch ends there."""
    return ParallelPipeline([bot.model()], [bot.model(bot.other), FunctionFilter(filter=_none)])


async def end_call(params: FunctionCallParams, farewell: str) -> None:
    """Works for four seconds.

    Args:
        farewell: The last words.
    """
    await asyncio.sleep(4.0)
    await params.result_callback({"ok": True})


async def tool_works(stage: Stage) -> None:
    await stage.greeted()
    stage.fakes.deepgram.heard = "goodbye"
    await stage.caller.speaks()
    await asyncio.sleep(2.0)


FAILOVER = ServiceSwitcherStrategyFailover
COVERED_VOICE = Plan(voice=switcher(Bot.cartesia, other_voice, FAILOVER))
COVERED_MODEL = Plan(model=switcher(Bot.model, other_model, FAILOVER))
COVERED_EARS = Plan(recogniser=switcher(Bot.recogniser, lambda bot: Bot(bot.other, bot.other).recogniser(), FAILOVER))
CLASSIFIES = Plan(model=beside_a_classifier)
ELEVEN = Plan(voice=Bot.elevenlabs)
MUTE = Plan(greets="")
MODEL_GREETS = Plan(greets=None)

SCENES = [
    # -- recognition: Deepgram
    Scene(
        (T.RECOGNISER_DEAD, D.HAS_THE_TURN), "401 from the start", greeted, at_first={"deepgram": "401"}, goes_on=False
    ),
    Scene(
        (T.RECOGNISER_DEAD, D.GREETING),
        "401, no greeting",
        nothing,
        plan=MUTE,
        at_first={"deepgram": "401"},
        goes_on=False,
    ),
    Scene(
        (T.RECOGNISER_DEAD, D.SPEAKS),
        "401, they speak",
        recogniser_dead_while_they_speak,
        "stt by deepgram: auth",
        at_first={"deepgram": "401"},
    ),
    Scene(
        (T.RECOGNISER_DEAD, D.UNHEARD), "401, they spoke", turn, "stt by deepgram: auth", at_first={"deepgram": "401"}
    ),
    Scene(
        (T.RECOGNISER, D.UNHEARD),
        "gone before they speak",
        recogniser_gone_before_they_speak,
        "stt by deepgram: connection",
    ),
    Scene((T.RECOGNISER, D.UNHEARD), "gone as they speak", recogniser_gone_in_speech, "stt by deepgram: connection"),
    Scene((T.RECOGNISER, D.LISTENS), "cut as the bot speaks", cut_while_it_listens("deepgram"), answer_s=5.0),
    Scene((T.RECOVERED, D.UNHEARD), "cut as they speak", recogniser_cut_in_speech, answer_s=5.0),
    Scene((T.BACKGROUND, D.WAITS), "recognition hangs", faulty_turn(deepgram="hang")),
    Scene((T.COVERED, D.UNHEARD), "401, another stands in", turn, plan=COVERED_EARS, at_first={"deepgram": "401"}),
    # -- the model: OpenAI
    Scene((T.MODEL_DEAD, D.WAITS), "401", faulty_turn(openai="401"), "llm by openai: auth"),
    Scene((T.MODEL_DEAD, D.WAITS), "404, in the second turn", first_turn_then(openai="404"), "llm by openai: request"),
    Scene((T.MODEL, D.WAITS), "500", faulty_turn(openai="500"), "llm by openai: server", ends_s=3),
    Scene((T.MODEL, D.WAITS), "429", faulty_turn(openai="429"), "llm by openai: rate_limit", ends_s=3),
    Scene((T.MODEL, D.WAITS), "an error in the stream", faulty_turn(openai="error"), "llm by openai: other"),
    Scene((T.MODEL, D.WAITS), "500, a filler was heard", filler_then_nothing, "llm by openai: server", ends_s=3),
    Scene(
        (T.MODEL_DEAD, D.GREETING),
        "401, it should greet",
        nothing,
        "llm by openai: auth",
        MODEL_GREETS,
        {"openai": "401"},
    ),
    Scene(
        (T.MODEL, D.GREETING),
        "500, it should greet",
        nothing,
        "llm by openai: server",
        MODEL_GREETS,
        {"openai": "500"},
        ends_s=3,
    ),
    Scene((T.MODEL, D.HAS_THE_TURN), "breaks off in its answer", model_breaks_off),
    Scene((T.MODEL, D.LISTENS), "429 under the greeting", model_runs_under_the_greeting),
    Scene((T.MODEL_DEAD, D.HAS_THE_TURN), "a summary: 401", summary_fails),
    Scene((T.MODEL_DEAD, D.HAS_THE_TURN), "what it begins itself: 401", bot_speaks_up),
    Scene((T.MODEL_DEAD, D.SPEAKS), "401, and they ask again", caller_speaks_up),
    Scene((T.BACKGROUND, D.HOLDS), "the model hangs", faulty_turn(openai="hang")),
    Scene(
        (T.MODEL_DEAD, D.LISTENS),
        "401, and the bot speaks of it",
        faulty_turn(openai="401"),
        plan=Plan(says_of_failures="Please hold the line."),
    ),
    Scene((T.BACKGROUND, D.HAS_THE_TURN), "a classifier: 401", answered, plan=CLASSIFIES, others={"openai": "401"}),
    Scene((T.BACKGROUND, D.HAS_THE_TURN), "a classifier: 500", answered, plan=CLASSIFIES, others={"openai": "500"}),
    Scene(
        (T.BACKGROUND, D.HOLDS),
        "a classifier: 401, a tool works",
        tool_works,
        plan=Plan(model=beside_a_classifier, tools=(end_call,)),
        others={"openai": "401"},
    ),
    Scene(
        (T.MODEL_DEAD, D.WAITS), "401 beside a classifier", faulty_turn(openai="401"), "llm by openai: auth", CLASSIFIES
    ),
    Scene((T.COVERED, D.WAITS), "401, another stands in", faulty_turn(openai="401"), plan=COVERED_MODEL),
    Scene(
        (T.MODEL_DEAD, D.WAITS),
        "401, and so the other",
        two_turns,
        "llm by openai: auth",
        COVERED_MODEL,
        others={"openai": "401"},
        ends_s=8,
    ),
    # -- the voice: Cartesia, ElevenLabs
    Scene((T.VOICE_DEAD, D.GREETING), "cartesia 401", nothing, "tts by cartesia: auth", at_first={"cartesia": "401"}),
    Scene(
        (T.VOICE_DEAD, D.GREETING), "elevenlabs 401", nothing, "tts by elevenlabs: auth", ELEVEN, {"elevenlabs": "401"}
    ),
    Scene((T.VOICE, D.GREETING), "cartesia 500", nothing, "tts by cartesia: server", at_first={"cartesia": "500"}),
    Scene(
        (T.VOICE, D.GREETING), "elevenlabs 429", nothing, "tts by elevenlabs: rate_limit", ELEVEN, {"elevenlabs": "429"}
    ),
    Scene((T.VOICE, D.WAITS), "an error in the protocol", faulty_turn(cartesia="error"), "tts by cartesia: other"),
    Scene((T.VOICE, D.WAITS), "cartesia hangs", faulty_turn(cartesia="hang"), "tts by cartesia: other", ends_s=4),
    Scene(
        (T.VOICE, D.WAITS),
        "elevenlabs hangs",
        faulty_turn(elevenlabs="hang"),
        "tts by elevenlabs: other",
        ELEVEN,
        ends_s=4,
    ),
    Scene((T.VOICE, D.HAS_THE_TURN), "cut in its sentence", voice_cut_in_its_sentence),
    Scene((T.RECOVERED, D.HAS_THE_TURN), "cut between turns", voice_cut_between_turns),
    Scene((T.VOICE, D.LISTENS), "an emoji at the end", emoji_at_the_end),
    Scene((T.VOICE, D.LISTENS), "an emoji at the end, elevenlabs", emoji_at_the_end, plan=ELEVEN),
    Scene((T.BACKGROUND, D.HAS_THE_TURN), "an emoji alone", emoji_alone),
    Scene((T.BACKGROUND, D.HAS_THE_TURN), "dots alone, elevenlabs", dots_alone, plan=ELEVEN),
    Scene((T.VOICE, D.HOLDS), "a filler without sound", filler_without_sound),
    Scene((T.COVERED, D.GREETING), "401, another stands in", nothing, plan=COVERED_VOICE, at_first={"cartesia": "401"}),
    Scene(
        (T.VOICE_DEAD, D.GREETING),
        "401, and so the other",
        nothing,
        "tts by elevenlabs: auth",
        COVERED_VOICE,
        {"cartesia": "401"},
        {"elevenlabs": "401"},
        ends_s=4,
    ),
]


# -- the same errors while nobody waits


async def bot_speaks(stage: Stage) -> None:
    await stage.greeted()
    await stage.queue(TTSSpeakFrame("This takes a while. " * 8))
    assert await stage.caller.hears()


async def caller_speaks(stage: Stage) -> None:
    await stage.greeted()
    await stage.caller.begins()


DURING = {
    D.SPEAKS: caller_speaks,
    D.LISTENS: bot_speaks,
    D.HOLDS: tool_works,
    D.HAS_THE_TURN: answered,
}


def recognition(fault: str) -> Callable[[Stage], Awaitable[None]]:
    async def errs(stage: Stage) -> None:
        stage.faults(deepgram=fault)
        stage.cut("deepgram")
        await asyncio.sleep(0.5 if fault == "503" else 5.0)  # a key is refused with the first reconnection
        stage.faults(deepgram="")

    return errs


def model(fault: str) -> Callable[[Stage], Awaitable[None]]:
    async def errs(stage: Stage) -> None:
        stage.faults(openai=fault)
        await stage.queue(LLMRunFrame())
        await asyncio.sleep(0.4)
        stage.faults(openai="")

    return errs


async def voice_errs(stage: Stage) -> None:
    stage.faults(cartesia="error")
    await stage.queue(TTSSpeakFrame("Ahem."))
    await asyncio.sleep(0.4)
    stage.faults(cartesia="")


async def voice_is_refused(stage: Stage) -> None:
    stage.faults(cartesia="401")
    stage.cut("cartesia")
    await asyncio.sleep(0.3)


ERRORS = {
    T.RECOGNISER: recognition("503"),
    T.RECOGNISER_DEAD: recognition("401"),
    T.MODEL: model("error"),
    T.MODEL_DEAD: model("401"),
    T.VOICE: voice_errs,
    T.VOICE_DEAD: voice_is_refused,
}
NOT_SO = {  # what would be another cell: speech that is not heard, or has no voice to be answered with, is waited for
    (T.RECOGNISER_DEAD, D.SPEAKS),
    (T.VOICE_DEAD, D.SPEAKS),
    (T.VOICE_DEAD, D.LISTENS),
    (T.VOICE_DEAD, D.HOLDS),
    (T.VOICE, D.LISTENS),  # one voice says one thing after the other: see the emoji
}


def scene_while_nobody_waits(trouble: Trouble, doing: Doing) -> Scene:
    async def plays(stage: Stage) -> None:
        await DURING[doing](stage)
        await ERRORS[trouble](stage)

    return Scene(
        (trouble, doing),
        "nobody waits",
        plays,
        plan=Plan(tools=(end_call,)) if doing is D.HOLDS else PLAIN,
        answer_s=5.0 if trouble is T.RECOGNISER else ANSWER_S,
        goes_on=trouble not in (T.RECOGNISER_DEAD, T.VOICE_DEAD),
    )


CELLS = [(trouble, doing) for trouble in ERRORS for doing in DURING if (trouble, doing) not in NOT_SO]
SCENES += [scene_while_nobody_waits(trouble, doing) for trouble, doing in CELLS]


# -- what is dead while nobody waits, until somebody does; and models that hear by themselves


def then_a_turn(doing: Doing) -> Callable[[Stage], Awaitable[None]]:
    async def plays(stage: Stage) -> None:
        await DURING[doing](stage)
        await voice_is_refused(stage)
        if doing is D.HAS_THE_TURN:
            await stage.caller.speaks()

    return plays


async def _all(_: Any) -> bool:
    return True


def no_recogniser(_: Bot) -> Any:
    return FunctionFilter(filter=_all)


async def dead_model_then_a_turn(stage: Stage) -> None:
    await stage.greeted()
    stage.faults(openai="401")
    await stage.queue(LLMRunFrame())
    await asyncio.sleep(0.5)
    await stage.caller.speaks()


async def model_dead_of_itself(stage: Stage) -> None:
    await stage.greeted()
    await ERRORS[T.MODEL_DEAD](stage)


REFUSED = "tts by cartesia: auth"
HEARS = Plan(recogniser=no_recogniser)
HEARS_AND_GREETS = Plan(greets=None, recogniser=no_recogniser)
SCENES += [
    Scene((T.VOICE_DEAD, D.WAITS), "401 before their turn", then_a_turn(D.HAS_THE_TURN), REFUSED),
    Scene((T.VOICE_DEAD, D.SPEAKS), "401 as they speak", then_a_turn(D.SPEAKS), REFUSED, ends_s=2),
    Scene((T.SPEECH_DEAD, D.WAITS), "401", dead_model_then_a_turn, "llm by openai: auth", HEARS),
    Scene((T.SPEECH_DEAD, D.GREETING), "401", nothing, "llm by openai: auth", HEARS_AND_GREETS, {"openai": "401"}),
    Scene((T.SPEECH, D.GREETING), "error", nothing, "llm by openai: other", HEARS_AND_GREETS, {"openai": "error"}),
    Scene((T.SPEECH_DEAD, D.HAS_THE_TURN), "401", model_dead_of_itself, plan=HEARS, goes_on=False),
]


@dataclass
class Played:
    """What came of a scene."""

    heard_waiting_s: float  # after the failure, in the time that patience and the apology take
    heard_s: float
    is_closed: bool
    answers_again: bool = False


async def play(scene: Scene, stage: Stage, gives_up: bool) -> Played:
    """The scene; then the caller waits, and if the call is there still, asks once more when all is well again."""
    await scene.plays(stage)
    since = max(time.monotonic(), stage.caller.quiet_at + 0.3)
    patience_s = max(scene.answer_s, GREETING_S if scene.cell[1] is D.GREETING else 0.0)
    limit_s = patience_s + scene.ends_s + (MARGIN_S if scene.is_given_up else 0.5)
    if gives_up:
        await stage.caller.comes_true(lambda: stage.caller.is_closed, limit_s + APOLOGY_S + 1.5)
    else:
        await asyncio.sleep(limit_s)
    played = Played(stage.caller.heard_s(since), stage.caller.heard_s(), stage.caller.is_closed)
    stage.cure()
    stage.fakes.deepgram.heard = "what are your hours"
    if not played.is_closed and scene.goes_on and not scene.is_given_up:
        for _ in range(3):
            await stage.caller.speaks()
            if await stage.caller.hears(3.0):
                played.answers_again = True
                break
    return played


def prepare(scene: Scene, stage: Stage) -> None:
    stage.faults(**scene.at_first)
    Stage(stage.other, stage.fakes).faults(**scene.others)


@pytest.fixture
async def call_ours(start_worker, tmp_path):
    async def call(scene: Scene) -> tuple[Any, Played]:
        path = tmp_path / "sorry.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(b"\x00\x30" * int(8000 * APOLOGY_S))
        fleet = await start_worker(
            apology_wav=path, provider_patience_s=scene.answer_s, greeting_patience_s=max(GREETING_S, scene.answer_s)
        )
        async with providers() as stage:
            prepare(scene, stage)

            async def bot(arguments):
                transport = SFVoPITransport.for_call(arguments)
                await run(scene.plan, Bot(stage.fakes, stage.other), transport, None, stage.pipelines.append)

            fleet.bots.bots["test:plan"] = bot
            url = await fleet.answer(bot="test:plan")

            async def connect():
                headers = {"X-Call-UUID": "call-1"}
                return await websockets.connect(url, compression=None, proxy=None, additional_headers=headers)

            async with ours(connect, stage):
                played = await play(scene, stage, gives_up=scene.is_given_up)
            return fleet, played

    return call


async def call_stock(scene: Scene) -> Played:
    async with providers() as stage:
        prepare(scene, stage)
        async with stock(scene.plan, stage):
            return await play(scene, stage, gives_up=False)


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"{scene.cell[0]} x {scene.cell[1]}: {scene.name}")
async def test_a_cell_of_the_table_beside_the_stock_transport(scene, call_ours):
    (fleet, played), control = await asyncio.gather(call_ours(scene), call_stock(scene))
    record = await fleet.ended(seconds=15)
    if scene.detail:
        assert (record.reason, record.detail) == (Reason.PROVIDER_ERROR, scene.detail)
        assert played.is_closed
        assert played.heard_waiting_s == pytest.approx(APOLOGY_S, abs=0.05)
        assert control.heard_waiting_s < 0.1, "the stock bot would have answered"
        return
    assert record.reason == Reason.STREAM_CLOSED  # nobody posts the hangup's webhook here
    assert not played.is_closed
    assert not control.is_closed
    assert played.heard_s >= control.heard_s - 0.3
    assert played.answers_again or not control.answers_again
    assert played.answers_again is scene.goes_on


def test_every_scene_is_of_a_cell_that_means_what_comes_of_it():
    """A caller who speaks, or listens, may be given up later: the cell is what was so when it failed."""
    for scene in SCENES:
        given_up = TABLE[scene.cell[0]][scene.cell[1]] is not Wait.NOTE
        assert given_up <= scene.is_given_up, scene.name
