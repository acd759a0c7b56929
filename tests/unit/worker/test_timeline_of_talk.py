"""What a timeline tells of a conversation: tools, and what was heard of the bot, with Pipecat's own services."""

import asyncio
from typing import Any

import pytest
from pipecat.frames.frames import Frame, FunctionCallFromLLM, InputDTMFFrame, TTSSpeakFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pydantic import SecretStr

from shared.cli import story
from shared.settings import WorkerSettings
from tests.fakes.faults import Fault
from tests.fakes.providers import FakeProviders
from tests.unit.worker.conftest import run_pipeline
from worker.pipeline.offline.scripted import ScriptedLLMService
from worker.pipeline.services import make_tts
from worker.pipeline.transport import SFVoPITransport

WORD_S = 0.3
STORY = "one two three four five six seven eight nine ten."


class Interrupter(FrameProcessor):
    """Interrupts at key 6."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, InputDTMFFrame) and frame.button.value == "6":
            await self.broadcast_interruption()


# -- tools


class Tools(ScriptedLLMService):
    """Calls the tool that a key stands for."""

    def __init__(self) -> None:
        super().__init__(function_call_timeout_secs=None)
        self.register_function("price", self._price)
        self.register_function("fails", self._fails)
        self.register_function("slow", self._slow, timeout_secs=0.2)
        self.register_function("for_ever", self._slow)
        self.register_function("silent", self._silent)

    async def _price(self, params: Any) -> None:
        await asyncio.sleep(0.1)
        await params.result_callback({"price": 500, "for": params.arguments})

    async def _fails(self, params: Any) -> None:
        raise ValueError("no such room: my pin is 1234")

    async def _slow(self, params: Any) -> None:
        await asyncio.sleep(30)

    async def _silent(self, params: Any) -> None:
        return

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputDTMFFrame) and frame.button.value in NAMES:
            await self._call(NAMES[frame.button.value], frame.button.value)

    async def _call(self, name: str, key: str) -> None:
        call = FunctionCallFromLLM(
            function_name=name, tool_call_id=f"t{key}", arguments={"room": 7}, context=LLMContext()
        )
        await self.run_function_calls([call])


NAMES = {"1": "price", "2": "fails", "3": "slow", "4": "for_ever", "5": "silent", "7": "invented, my pin is 1234"}
OUTCOMES = {
    "1": {"name": "price", "outcome": "ok"},
    "2": {"name": "fails", "outcome": "raised", "exception": "ValueError"},
    "3": {"name": "slow", "outcome": "timeout"},
    "46": {"name": "for_ever", "outcome": "cancelled"},
    "4": {"name": "for_ever", "outcome": "unfinished"},
    "5": {"name": "silent", "outcome": "unfinished"},
    "7": {"name": "", "outcome": "unknown"},
}


async def tools_called(fleet, keys: str) -> list[dict[str, Any]]:
    async def bot(arguments: Any) -> None:
        await run_pipeline(SFVoPITransport.for_call(arguments), Interrupter(), Tools())

    fleet.bots.bots["test:tools"] = bot
    carrier = await fleet.call(bot="test:tools")
    await fleet.app.sessions.all()[0].stream.watch.pipeline_started.wait()
    for key in keys:
        await carrier.press(key)
        await asyncio.sleep(0.5)
    await carrier.hang_up()
    await fleet.ended()
    return [data for event, data in await fleet.timeline() if event == "tool"]


@pytest.mark.parametrize(
    ("keys", "wanted"), OUTCOMES.items(), ids=[each["outcome"] + k for k, each in OUTCOMES.items()]
)
async def test_a_tool_stands_in_the_timeline_with_its_time_and_how_it_ended_and_not_with_its_words(fleet, keys, wanted):
    (tool,) = await tools_called(fleet, keys)
    assert 0 <= tool.pop("ms") < 5000
    assert tool == wanted


async def test_a_tools_time_is_that_of_its_work(fleet):
    (tool,) = await tools_called(fleet, "1")
    assert 90 < tool["ms"] < 450


async def test_with_transcripts_what_it_was_asked_and_answered_stands_there_too(start_worker):
    fleet = await start_worker(transcripts=True)
    price, fails, invented = await tools_called(fleet, "127")
    assert (price["arguments"], price["answer"]) == ('{"room": 7}', '{"price": 500, "for": {"room": 7}}')
    assert fails["answer"] == "ValueError: no such room: my pin is 1234"
    assert invented["name"] == "invented, my pin is 1234"
    assert story.tell({"event": "tool", "data": price}).endswith(
        ' ms  asked {"room": 7}, answered {"price": 500, "for": {"room": 7}}'
    )


# -- what was heard


class Teller(Interrupter):
    """Tells the story at key 1."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputDTMFFrame) and frame.button.value == "1":
            await self.push_frame(TTSSpeakFrame(STORY))


async def told(start_worker, until, voice: str, how: str, transcripts: bool = True) -> list[dict[str, Any]]:
    """The entries of what the bot said, when after 1.5 s of speech it is cut in some way."""
    async with FakeProviders(tts_s=0.02, word_s=WORD_S) as fakes:
        given = {name.lower(): value for name, value in fakes.env.items() if not name.startswith("SFVOPI")}
        settings = WorkerSettings(token_secrets=SecretStr("k" * 16), _env_file=None, tts=voice, **given)
        fleet = await start_worker(transcripts=transcripts)

        async def bot(arguments: Any) -> None:
            await run_pipeline(SFVoPITransport.for_call(arguments), Teller(), make_tts(settings))

        fleet.bots.bots["test:tells"] = bot
        carrier = await fleet.call(bot="test:tells")
        await fleet.app.sessions.all()[0].stream.watch.pipeline_started.wait()
        carrier.talk()
        if how == "failure":
            fakes.openai.fault = Fault(status=500)
        await carrier.press("1")
        if how == "failure":
            await asyncio.sleep(1.5)
        else:
            await until(lambda: carrier.heard_s > 1.7)
        if how == "interruption":
            await carrier.press("6")
            await until(lambda: carrier.events("clearAudio"))
        elif how == "end":
            await until(lambda: carrier.heard_s > len(STORY.split()) * WORD_S - 0.1)
            await asyncio.sleep(1.0)
        await carrier.hang_up()
        await fleet.ended()
        return [data for event, data in await fleet.timeline() if event == "bot_said"]


@pytest.mark.parametrize("how", ["interruption", "hangup"])
@pytest.mark.parametrize("voice", ["cartesia", "elevenlabs"])
async def test_of_a_cut_sentence_the_words_are_told_that_were_heard_where_the_voice_gives_times(
    start_worker, until, voice, how
):
    (said,) = await told(start_worker, until, voice, how)
    assert said["text"] == STORY
    assert said["cut"] is True
    assert STORY.startswith(said["heard"])
    assert 3 <= said["heard_words"] <= 7, said  # 1.5 s at 0.3 s a word, and a word before and behind
    assert "heard_s" not in said


@pytest.mark.parametrize("how", ["interruption", "hangup"])
async def test_of_a_voice_without_times_it_is_told_for_how_long_the_sentence_was_heard(start_worker, until, how):
    (said,) = await told(start_worker, until, "openai", how)
    assert (said["text"], said["heard"], said["heard_words"]) == (STORY, "", 0)
    assert 1.2 < said["heard_s"] < 2.2


@pytest.mark.parametrize("voice", ["cartesia", "elevenlabs", "openai"])
async def test_what_was_heard_to_its_end_is_told_as_said(start_worker, until, voice):
    assert await told(start_worker, until, voice, "end") == [{"words": 10, "text": STORY}]


async def test_what_the_voice_could_not_say_is_told_as_not_heard(start_worker, until):
    (said,) = await told(start_worker, until, "openai", "failure")
    wanted = {"words": 10, "text": STORY, "failed": True, "heard_words": 0, "heard": "", "heard_s": 0.0}
    assert said == wanted


async def test_without_transcripts_there_are_counts_only(start_worker, until):
    (said,) = await told(start_worker, until, "cartesia", "interruption", transcripts=False)
    assert said.pop("heard_words") >= 3
    assert said == {"words": 10, "cut": True}


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"words": 2, "text": "Hello there."}, "bot: Hello there."),
        ({"words": 2, "text": "a b", "cut": True, "heard_words": 1, "heard": "a"}, "bot: a b  (cut off; heard: “a”)"),
        (
            {"words": 2, "text": "a b", "cut": True, "heard_words": 1, "heard": "a", "heard_s": 0.4},
            "bot: a b  (cut off; heard: “a” and 0.4 s of what follows)",
        ),
        (
            {"words": 2, "text": "a b", "failed": True, "heard_words": 0, "heard": "", "heard_s": 1.5},
            "bot: a b  (the voice failed; heard: 1.5 s of it)",
        ),
        (
            {"words": 2, "failed": True, "heard_words": 0, "heard_s": 0.0},
            "bot said 2 words  (the voice failed; heard: nothing)",
        ),
        ({"words": 9, "cut": True, "heard_words": 4}, "bot said 9 words  (cut off; heard: 4 words)"),
        ({"words": 2, "text": "a b", "cut": True}, "bot: a b  (cut off)"),  # of the version before
    ],
)
def test_a_person_reads_what_was_said_and_what_was_heard(data, line):
    assert story.tell({"event": "bot_said", "data": data}) == line


def test_nothing_of_a_conversation_is_told_of_the_wire():
    content = {"text": "a", "heard": "a", "digit": "1", "arguments": "a", "answer": "a"}
    assert story.without_content({"event": "x", "data": {**content, "ms": 1}})["data"] == {"ms": 1}
