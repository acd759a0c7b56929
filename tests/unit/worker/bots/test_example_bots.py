"""Bots in the shapes of Pipecat's examples, unchanged: each is rehearsed, greets, converses and ends.

In a worker of the fleet, and under Pipecat's runner.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pipecat.runner import utils
from pipecat.services.openai.llm import OpenAILLMService

from shared.settings import NumberPlan
from shared.sfvopi.formats import PCMA_8K
from tests.bench import sounds
from tests.fakes.pipecat_runner import an_app, served
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import heard_voices
from worker.bot_loader import BotLoader
from worker.pipeline import create_transport
from worker.pipeline.offline.rules import Rules
from worker.rehearsal import rehearse

pytestmark = pytest.mark.xdist_group("calls in real time")

Phone = Callable[..., Awaitable[Any]]
SPEECH = sounds.speech()[8000:28000]  # of nobody that the tones tell of: the fake recognition hears what it is told to


@dataclass(frozen=True)
class Example:
    """One bot, and a conversation with it."""

    name: str
    rules: str = ""  # what the model does; "caller N" in an answer gives it a voice of its own
    greets: bool = True
    says: tuple[tuple[str, int], ...] = (("how are you", 7),)  # what the caller says, and in which voice it is answered
    ends: str = ""  # what the caller says last, if it is the bot that ends the call
    keys: str = ""  # typed in place of the first words


ECHO = (
    '[[rule]]\nsays = "how are you"\nanswer = "Very well, caller 7."\n[[rule]]\ntold = "."\nanswer = "Hello there."\n'
)
VOICEMAIL = '{"voicemail": {"choice": "%s", "probabilities": {"voicemail": %s, "conversation": %s}}}'

EXAMPLES = [
    Example("quickstart", ECHO),
    Example(
        "function_calling",
        r"""
        [[rule]]
        says = "weather in (?P<city>\\w+)"
        tool = "get_current_weather"
        arguments = { location = "{city}" }
        [[rule]]
        after = "get_current_weather"
        answer = "It is {conditions} in {where}, caller 7."
        [[rule]]
        says = "bye"
        tool = "hang_up"
        [[rule]]
        after = "hang_up"
        answer = "Goodbye."
        """,
        says=(("what is the weather in Paris", 7),),
        ends="bye",
    ),
    Example(
        "flow",
        r"""
        [[rule]]
        told = "Ask the caller"
        answer = "What would you like to eat?"
        [[rule]]
        says = "pizza"
        tool = "choose_dish"
        arguments = { dish = "pizza" }
        [[rule]]
        told = "Read the order back"
        answer = "A pizza, caller 7, is that right?"
        [[rule]]
        says = "yes"
        tool = "confirm_order"
        [[rule]]
        told = "Thank the caller"
        answer = "Thank you, goodbye."
        """,
        says=(("a pizza please", 7),),
        ends="yes",
    ),
    Example(
        "handoff",
        r"""
        [[rule]]
        told = "Greet the caller"
        answer = "Hello, this is the front desk."
        [[rule]]
        says = "support"
        tool = "transfer_to_support"
        [[rule]]
        after = "transfer_to_support"
        answer = "One moment."
        [[rule]]
        told = "Introduce yourself"
        answer = "This is support, caller 7."
        [[rule]]
        says = "bye"
        tool = "end_conversation"
        [[rule]]
        after = "end_conversation"
        answer = "Goodbye."
        """,
        says=(("support please", 7),),
        ends="bye",
    ),
    Example(
        "voicemail",
        "[[rule]]\nsays = 'leave a message'\nanswer = '"
        + VOICEMAIL % ("voicemail", 0.99, 0.01)
        + "'\n[[rule]]\nanswer = '"
        + VOICEMAIL % ("conversation", 0.01, 0.99)
        + "'\n",
        greets=False,
        says=(),
        ends="please leave a message after the tone",
    ),
    Example(
        "dtmf_menu", '[[rule]]\nsays = "DTMF: 42"\nanswer = "You typed it well, caller 7."', says=(("", 7),), keys="42#"
    ),
    Example("recording", ECHO),
    Example(
        "ivr",
        r"""
        [[rule]]
        prompt = "IVR detection classifier"
        answer = "<mode>ivr</mode>"
        [[rule]]
        says = "connecting you"
        answer = "<ivr>completed</ivr>"
        [[rule]]
        answer = "<dtmf>1</dtmf>"
        """,
        greets=False,
        says=(),
        ends="press one for billing",
    ),
    Example("twilio_chatbot", ECHO),
    Example("plivo_telnyx_chatbot", ECHO),
    Example("exotel_chatbot", ECHO),
    Example("speech_to_speech", ECHO),
]
BY_NAME = [pytest.param(example, id=example.name) for example in EXAMPLES]
QUICK = {"function_calling", "handoff"}  # each takes some seconds, for callers speak in real time
CALLS = [
    pytest.param(example, id=example.name, marks=() if example.name in QUICK else pytest.mark.slow)
    for example in EXAMPLES
]


@pytest.fixture(autouse=True)
def _stock_again(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SFVOPI_TOKEN_SECRETS", "a secret for tests")
    yield
    utils.create_transport = create_transport.STOCK


@pytest.fixture(autouse=True)
async def _clients_are_closed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Pipecat leaves the clients of its services to the garbage collector, which warns."""
    made: list[Any] = []

    def create_client(self: Any, *given: Any, **options: Any) -> Any:
        made.append(stock(self, *given, **options))
        return made[-1]

    stock = OpenAILLMService.create_client
    monkeypatch.setattr(OpenAILLMService, "create_client", create_client)
    yield
    for client in made:
        await client.close()


@pytest.fixture
def model(fakes: FakeProviders) -> Callable[[Example], None]:
    """Give the model the rules of an example."""

    def teach(example: Example) -> None:
        text = "\n".join(line.strip() for line in example.rules.splitlines())
        fakes.openai.rules = Rules.parse(text)

    return teach


def says(fakes: FakeProviders, words: str) -> None:
    """What is recognised in the speech that comes next."""
    fakes.deepgram.heard = fakes.openai.heard = words


async def until(is_so: Callable[[], object], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.02)


async def converse(example: Example, fakes: FakeProviders, line: Any, type_key: Any) -> None:
    """The conversation, over whichever line; up to the words that end it."""
    if example.greets:
        await until(lambda: line.heard_s > 0.3)
        await asyncio.sleep(1.5)  # until it was said
    for key in example.keys:
        await type_key(key)
    for words, voice in example.says:
        if words:
            says(fakes, words)
            await line.say(SPEECH)
        await until(lambda voice=voice: voice in heard_voices(bytes(line.heard)))
        await asyncio.sleep(1.5)
    if example.ends:
        says(fakes, example.ends)
        await line.say(SPEECH)


@pytest.mark.parametrize("example", BY_NAME)
async def test_it_is_rehearsed(example: Example, fakes: FakeProviders) -> None:
    name = f"tests.example_bots.{example.name}:bot"
    done = await rehearse(name, loaded(name), NumberPlan(name, PCMA_8K))
    assert (done.fault, done.remarks) == ("", ())
    assert done.hears or example.name == "speech_to_speech"


def loaded(name: str) -> Any:
    """The bot as a worker imports it: with the worker's create_transport."""
    create_transport.install()
    module = importlib.import_module(name.partition(":")[0])
    for one in (module, importlib.import_module("tests.example_bots.chatbot")):
        importlib.reload(one)
    return BotLoader().load(name)


@pytest.mark.parametrize("example", CALLS)
async def test_it_holds_a_call_of_the_fleet(example: Example, fakes: FakeProviders, phone: Phone, model: Any) -> None:
    model(example)
    name = f"tests.example_bots.{example.name}:bot"
    loaded(name)
    caller = await phone(name, start_deadline_s=10, reconnect_window_s=0)
    await converse(example, fakes, caller, caller.carrier.press)
    if example.name == "ivr":
        await until(lambda: caller.heard_s > 0.1)  # the tone of a key
        says(fakes, "connecting you")
        await caller.say(SPEECH)
    if example.ends:
        assert await caller.carrier.closed(20) == 1000
        await caller.hang_up()
    else:
        await caller.hang_up()
        await caller.carrier.hang_up()
    record = await caller.fleet.ended()
    assert (record.result, record.reason) == ("completed", "bot_ended" if example.ends else "stream_closed")
    if example.name == "voicemail":
        assert 9 in caller.voices(), "the message was left"


@pytest.mark.parametrize("example", CALLS)
async def test_it_holds_a_session_under_pipecats_runner(example: Example, fakes: FakeProviders, model: Any) -> None:
    """With Pipecat's own create_transport: nothing of ours is in it."""
    model(example)
    module = importlib.import_module(f"tests.example_bots.{example.name}")
    for one in (importlib.import_module("tests.example_bots.chatbot"), module):
        importlib.reload(one)  # another test may have loaded it with ours
    async with served(module.bot) as runner, an_app(runner.url) as app:
        await converse(example, fakes, app, app.press)
        if example.name == "ivr":
            await until(lambda: app.heard_s > 0.1)
            says(fakes, "connecting you")
            await app.say(SPEECH)
        if not example.ends:
            await app.hang_up()
        await until(lambda: runner.ended, 30)
    assert runner.ended == [None]
