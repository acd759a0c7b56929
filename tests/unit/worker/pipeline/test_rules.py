"""A model that follows a file of rules: without a key, a bot with tools of its own is tried."""

from pathlib import Path
from typing import Any

import openai
import pytest
import structlog
from pipecat.frames.frames import LLMContextFrame, LLMFullResponseEndFrame, LLMTextFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.services.llm_service import FunctionCallParams
from pipecat.workers.runner import WorkerRunner

from shared.settings import SettingsError, WorkerSettings
from shared.settings.numbers import NumberPlan
from shared.sfvopi.formats import PCMA_8K
from tests.fakes.pipelines import running
from tests.fakes.providers import FakeProviders
from worker.bots import receptionist
from worker.pipeline.offline import scripted
from worker.pipeline.offline.rules import Action, Rules, RulesError, Turn, turn_of
from worker.pipeline.offline.scripted import ScriptedLLMService
from worker.pipeline.services import make_llm
from worker.pipeline.transport import SFVoPITransport
from worker.rehearsal import rehearse

BOOKING = r"""
[[rule]]
says = "table for (?P<people>\\w+)"
tool = "book_table"
arguments = { people = "{people}", outside = true }

[[rule]]
after = "book_table"
answer = "Your table is number {table}."

[[rule]]
told = "ask for the name"
answer = "What is your name?"

[[rule]]
says = "^hello"
answer = "Hello, {nobody}you."
"""
RULES = Rules.parse(BOOKING)


@pytest.mark.parametrize(
    ("turn", "tools", "action"),
    [
        (
            Turn(says="A TABLE FOR four, please"),
            {"book_table"},
            Action(tool="book_table", arguments={"people": "four", "outside": True}),
        ),
        (Turn(says="a table for four"), set(), None),
        (Turn(after="book_table", result={"table": 7}), {"book_table"}, Action("Your table is number 7.")),
        (Turn(after="another"), {"book_table"}, None),
        (Turn(told="Now ask for the name."), set(), Action("What is your name?")),
        (Turn(says="ask for the name"), set(), None),
        (Turn(says="Hello there"), set(), Action("Hello, you.")),
        (Turn(), set(), None),
    ],
)
def test_the_first_rule_that_fits_is_followed(turn: Turn, tools: set[str], action: Action | None) -> None:
    assert RULES.act(turn, tools) == action


def test_a_rule_without_a_condition_fits_what_no_other_did_but_calls_no_tool_over_and_over() -> None:
    rules = Rules.parse('[[rule]]\ntool = "look"\n[[rule]]\nanswer = "Well."\n')
    assert rules.act(Turn(says="x"), {"look"}) == Action(tool="look")
    assert rules.act(Turn(after="look"), {"look"}) == Action("Well.")
    assert rules.act(Turn(), ()) == Action("Well.")


def test_a_rule_may_look_at_what_the_bot_told_the_model_before() -> None:
    rules = Rules.parse('[[rule]]\nprompt = "you are support"\nsays = "refund"\nanswer = "Yes."\n')
    said = [{"role": "user", "content": "a refund"}]
    assert rules.act(turn_of(said), ()) is None
    assert rules.act(turn_of(said, "You are support."), ()) == Action("Yes.")
    assert rules.act(turn_of([{"role": "system", "content": "You are support."}, *said]), ()) == Action("Yes.")


@pytest.mark.parametrize(
    ("messages", "turn"),
    [
        ([], Turn()),
        ([{"role": "user", "content": [{"type": "text", "text": "hi"}]}], Turn(says="hi")),
        ([{"role": "user", "content": "hi"}, {"role": "developer", "content": "do"}], Turn(told="do", prompt=" do")),
        ([{"role": "assistant", "content": "yes"}], Turn()),
        (
            [
                {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "look"}}]},
                {"role": "tool", "tool_call_id": "a", "content": '{"x": 1}'},
            ],
            Turn(after="look", result={"x": 1, "result": {"x": 1}}),
        ),
        ([{"role": "tool", "tool_call_id": "gone", "content": "so"}], Turn(after="", result={"result": "so"})),
    ],
)
def test_the_last_message_says_what_is_asked(messages: list[Any], turn: Turn) -> None:
    assert turn_of(messages) == turn


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "consists of"),
        ("rule = 1", "consists of"),
        ("[[rule", "not TOML"),
        ('[[rule]]\nsay = "x"', r"rule 1 has 'say'; known are"),
        ('[[rule]]\nsays = "x"\ntold = "y"\nanswer = "z"', "more than one"),
        ('[[rule]]\nsays = "x"', "answer or a tool"),
        ('[[rule]]\nanswer = "x"\n[[rule]]\nsays = "("\nanswer = "x"', "rule 2: says is no regular expression"),
        ('[[rule]]\nanswer = "x"\narguments = {a = 1}', "belong to a tool"),
        ("[[rule]]\nanswer = 3", "answer is a text"),
    ],
)
def test_a_file_that_cannot_be_used_says_which_rule_and_why(text: str, says: str) -> None:
    with pytest.raises(RulesError, match=says):
        Rules.parse(text)


# -- behind Pipecat's interface


async def book_table(params: FunctionCallParams, people: str, outside: bool = False) -> None:
    """Book a table.

    Args:
        people: How many.
        outside: In the garden.
    """
    await params.result_callback({"table": f"{people}-7"})


async def test_the_offline_model_calls_the_tools_of_a_bot_by_its_rules() -> None:
    context = LLMContext(messages=[{"role": "user", "content": "A table for four."}], tools=[book_table])
    user, assistant = LLMContextAggregatorPair(context)
    async with running(user, ScriptedLLMService(rules=RULES), assistant) as pipeline:
        await pipeline.send(LLMContextFrame(context))
        await pipeline.until(lambda: any(m.get("content") == "Your table is number four-7." for m in context.messages))


async def test_what_no_rule_fits_is_not_understood() -> None:
    context = LLMContext(messages=[{"role": "user", "content": "What are your opening hours?"}])
    async with running(ScriptedLLMService(rules=RULES)) as pipeline:
        await pipeline.send(LLMContextFrame(context))
        await pipeline.until_seen(LLMFullResponseEndFrame)
        assert "did not understand" in "".join(frame.text for frame in pipeline.seen(LLMTextFrame))


def settings(**given: Any) -> WorkerSettings:
    return WorkerSettings.read(token_secrets="a secret for tests", llm="scripted", **given)


def test_the_setting_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    with pytest.raises(SettingsError, match=r"SFVOPI_SCRIPT: cannot read"):
        make_llm(settings(script=file))
    file.write_text("[[rule]]\n")
    with pytest.raises(SettingsError, match=r"SFVOPI_SCRIPT: .*rules\.toml: rule 1 needs"):
        make_llm(settings(script=file))
    file.write_text(BOOKING)
    assert make_llm(settings(script=file))._rules.tools == {"book_table"}  # type: ignore[attr-defined]


async def test_the_fakes_model_follows_the_same_rules() -> None:
    tool: Any = {"type": "function", "function": {"name": "book_table", "parameters": {}}}
    async with (
        FakeProviders(llm_s=0, rules=RULES) as fakes,
        openai.AsyncOpenAI(base_url=fakes.env["OPENAI_BASE_URL"], api_key="k") as client,
    ):
        for text, tools, told in (
            ("a table for two", [tool], "book_table"),
            ("a table for two", openai.omit, "You said: a table for two."),
            ("hello", openai.omit, "Hello, you."),
        ):
            stream = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": text}], tools=tools, stream=True
            )
            deltas = [chunk.choices[0].delta async for chunk in stream if chunk.choices]
            calls = [call.function.name for delta in deltas for call in delta.tool_calls or []]
            assert "".join(calls or [delta.content or "" for delta in deltas]).strip() == told


# -- what is not used is said in time


def garage(llm: ScriptedLLMService, tools: Any = None, messages: Any = None) -> Any:
    async def bot(runner_args: Any) -> None:
        transport = SFVoPITransport.for_call(runner_args)
        user, assistant = LLMContextAggregatorPair(
            LLMContext(messages=messages or [], **({"tools": tools} if tools else {}))
        )
        pipeline = PipelineWorker(
            Pipeline([transport.input(), user, llm, transport.output(), assistant]),
            params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
            enable_rtvi=False,
        )
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(pipeline)
        await runner.run()

    return bot


PLAN = NumberPlan("test:bot", PCMA_8K)


async def test_a_prompt_and_tools_that_the_script_does_not_use_are_named_at_the_rehearsal() -> None:
    llm = ScriptedLLMService()
    llm.append_system_instruction("You answer the phone of a small garage.")
    done = await rehearse("b", garage(llm, [book_table, receptionist.end_call]), PLAN)
    assert [remark.split(";")[0] for remark in done.remarks] == [
        "no language model is set: a restaurant's receptionist answers, by a script, and this bot's prompt is not used",
        "the script never calls the tools book_table",
    ]
    assert "SFVOPI_SCRIPT" in done.remarks[0]
    assert "OPENAI_BASE_URL" in done.remarks[0]


async def test_a_prompt_in_the_context_is_one_too() -> None:
    messages = [{"role": "system", "content": "You answer the phone of a small garage."}]
    done = await rehearse("b", garage(ScriptedLLMService(), messages=messages), PLAN)
    assert len(done.remarks) == 1


async def test_the_receptionist_whose_script_it_is_hears_no_remark() -> None:
    llm = ScriptedLLMService()
    llm.append_system_instruction(receptionist.PROMPT)
    assert (await rehearse("b", garage(llm, [receptionist.end_call]), PLAN)).remarks == ()


async def test_with_rules_only_tools_that_none_of_them_calls_are_named() -> None:
    llm = ScriptedLLMService(rules=RULES)
    llm.append_system_instruction("You answer the phone of a small garage.")
    done = await rehearse("b", garage(llm, [book_table, receptionist.end_call]), PLAN)
    assert [remark.split(";")[0] for remark in done.remarks] == ["the script never calls the tools end_call"]


async def test_without_a_rehearsal_the_first_call_says_it_once() -> None:
    scripted._WARNED.clear()
    context = LLMContext(messages=[{"role": "system", "content": "a garage"}, {"role": "user", "content": "hi"}])
    with structlog.testing.capture_logs() as lines:
        async with running(ScriptedLLMService()) as pipeline:
            for times in (1, 2):
                await pipeline.send(LLMContextFrame(context))
                await pipeline.until(lambda times=times: len(pipeline.seen(LLMFullResponseEndFrame)) == times)
    assert sum("this bot's prompt is not used" in line["event"] for line in lines) == 1
