"""The scripted receptionist: what it says to whom, and that it behaves as a language model does."""

import pytest
from pipecat.frames.frames import LLMContextFrame, LLMFullResponseEndFrame, LLMTextFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.services.llm_service import FunctionCallParams

from tests.fakes.pipelines import running
from worker.pipeline.offline import dialogue
from worker.pipeline.offline.dialogue import Reply, Said, reply_to
from worker.pipeline.offline.scripted import ScriptedLLMService


def conversation(*texts: str) -> list[Said]:
    """The caller begins, then they take turns."""
    return [Said(by_caller=number % 2 == 0, text=text) for number, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("sentence", "answer"),
    [
        ("What are your opening hours?", dialogue.OPENING_HOURS),
        ("Hi, when do you open on Saturday?", dialogue.OPENING_HOURS),
        ("Where are you located?", dialogue.ADDRESS),
        ("I would like to book a table.", dialogue.ASK_FOR_PARTY),
        ("Tell me about your menu, please.", dialogue.MENU),
        ("Can I speak to a human, please?", dialogue.CALL_BACK),
        ("My order number is 47291.", "I heard order number four seven two nine one. It will be ready this evening."),
        ("My order number is four, seven, two.", "I heard order number four seven two. It will be ready this evening."),
        ("I have an order.", "What is your order number, please?"),
        ("Thanks.", dialogue.WELCOME),
        ("Hello?", dialogue.HELP),
        ("Colourless green ideas.", dialogue.AGAIN),
        ("What did I ask you before?", dialogue.NOTHING_YET),
    ],
)
def test_each_wish_has_its_answer(sentence: str, answer: str) -> None:
    assert reply_to(conversation(sentence)) == Reply(answer)


@pytest.mark.parametrize("words", ["Goodbye.", "Thank you very much. Bye-bye.", "That is all, thank you.", "Bye bye."])
def test_a_goodbye_ends_the_call(words: str) -> None:
    assert reply_to(conversation(words)) == Reply(dialogue.FAREWELL, ends_call=True)


def test_a_booking_takes_two_turns() -> None:
    asked = conversation("I would like to book a table.", dialogue.ASK_FOR_PARTY, "For two people tomorrow evening.")
    assert reply_to(asked) == Reply(dialogue.BOOKED)


def test_it_remembers_what_was_asked_before() -> None:
    said = conversation("What are your opening hours?", dialogue.OPENING_HOURS, "What did I ask you before?")
    assert reply_to(said) == Reply("You asked: What are your opening hours?")


def test_the_long_answer_is_long_enough_to_be_interrupted() -> None:
    assert len(dialogue.MENU.split()) > 60


async def test_it_streams_words_like_a_model() -> None:
    context = LLMContext(messages=[{"role": "system", "content": "x"}, {"role": "user", "content": "your address?"}])
    async with running(ScriptedLLMService()) as pipeline:
        await pipeline.send(LLMContextFrame(context))
        await pipeline.until_seen(LLMFullResponseEndFrame)
        words = [frame.text for frame in pipeline.seen(LLMTextFrame)]
    assert "".join(words).strip() == dialogue.ADDRESS
    assert len(words) == len(dialogue.ADDRESS.split())


async def test_it_ends_a_call_with_the_tool_of_the_bot() -> None:
    farewells: list[str] = []

    async def end_call(params: FunctionCallParams, farewell: str) -> None:
        """End the call.

        Args:
            farewell: The last words.
        """
        farewells.append(farewell)
        await params.result_callback({})

    context = LLMContext(messages=[{"role": "user", "content": "Goodbye."}], tools=[end_call])
    async with running(ScriptedLLMService()) as pipeline:
        await pipeline.send(LLMContextFrame(context))
        await pipeline.until(lambda: farewells)
        assert not pipeline.seen(LLMTextFrame)
    assert farewells == [dialogue.FAREWELL]
