"""What is said is what is heard: piper → A-law at 8 kHz → whisper, for every sentence of a call, both ways."""

import asyncio
import audioop
import re
from collections.abc import AsyncIterator

import jiwer
import pytest

from worker.bots.receptionist import GREETING
from worker.pipeline.offline import dialogue
from worker.pipeline.offline.piper import synthesise
from worker.pipeline.offline.piper_server import stop_piper
from worker.pipeline.offline.whisper import load_model, recognise

pytestmark = pytest.mark.speech

BOT_SAYS = (
    GREETING.text,
    dialogue.OPENING_HOURS,
    dialogue.CALL_BACK,
    dialogue.ADDRESS,
    dialogue.ASK_FOR_PARTY,
    dialogue.BOOKED,
    dialogue.HELP,
    dialogue.AGAIN,
    dialogue.WELCOME,
    dialogue.FAREWELL,
    "I heard order number four seven two nine one. It will be ready this evening.",
)
CALLER_SAYS = (
    "What are your opening hours?",
    "I would like to book a table.",
    "For two people tomorrow evening.",
    "My order number is four seven two nine one.",
    "Tell me about your menu, please.",
    "Can I speak to a human, please?",
    "Where are you located?",
    "What did I ask you before?",
    "Thank you for your help. Goodbye.",
)
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def words(text: str) -> str:
    """As words: no case, no punctuation, numbers up to twelve as words, longer ones digit by digit."""
    text = re.sub(r"\d+", lambda number: f" {spelled(number.group())} ", text.lower())
    return " ".join(re.sub(r"[^a-z ]", " ", text.replace("'", "")).split())


def spelled(number: str) -> str:
    return NUMBERS[int(number)] if int(number) < len(NUMBERS) else " ".join(NUMBERS[int(digit)] for digit in number)


@pytest.fixture(scope="module", autouse=True)
def no_piper_left() -> AsyncIterator[None]:
    yield
    stop_piper()


@pytest.mark.parametrize("sentences", [BOT_SAYS, CALLER_SAYS], ids=["bot", "caller"])
async def test_at_most_one_word_in_ten_is_misheard(sentences: tuple[str, ...]) -> None:
    await load_model(None)
    heard = [await telephone(sentence) for sentence in sentences]
    for said, understood in zip(sentences, heard, strict=True):
        print(f"{said!r} -> {understood!r}")
    rate = jiwer.wer([words(said) for said in sentences], [words(understood) for understood in heard])
    print(f"word error rate {rate:.1%}")
    assert rate <= 0.1


async def telephone(sentence: str) -> str:
    pcm = await synthesise("", None, 8000, sentence)
    at_the_other_end = audioop.alaw2lin(audioop.lin2alaw(bytes(3200) + pcm + bytes(8000), 2), 2)
    return await asyncio.to_thread(recognise, None, at_the_other_end, 8000)
