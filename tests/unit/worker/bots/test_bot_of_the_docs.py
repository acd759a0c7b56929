"""The bot of docs/bots.md, as a reader who copies it gets it, on the telephone."""

import importlib.util
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from shared.settings import NumberPlan
from shared.sfvopi.formats import PCMA_8K
from tests.documents import python_block, table
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import NOBODY, caller_speech
from worker.bot_loader import BotLoader
from worker.rehearsal import rehearse

pytestmark = pytest.mark.xdist_group("calls in real time")

Phone = Callable[..., Awaitable[Any]]


@pytest.fixture
def my_bot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_bot.py").write_text(python_block("bots.md", "async def bot(runner_args)"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_bot", raising=False)
    return "my_bot:bot"


def test_what_the_guides_names_are_called_today_is_there() -> None:
    (pipecat,) = importlib.util.find_spec("pipecat").submodule_search_locations  # type: ignore[union-attr, misc]
    sources = "\n".join(path.read_text() for path in Path(pipecat).rglob("*.py"))
    there = set(re.findall(r"(?:class |def |^    )(\w+)(?=[(:]| = )", sources, re.MULTILINE))
    today = [today for _, today in table("bots.md", "Moving the guide's bot here")]
    code = " ".join(piece for cell in today for piece in re.findall(r"`([^`]+)`", cell))
    named = set(re.findall(r"\b[A-Z]\w+|\w+(?=\()", code))
    assert len(named) >= 12
    assert named - there <= {"SFVoPITransport", "for_call", "SFVoPIFrameSerializer"}


async def test_its_rehearsal_finds_no_fault_and_a_vad(
    fakes: FakeProviders, my_bot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFVOPI_TOKEN_SECRETS", "a secret for tests")
    rehearsed = await rehearse(my_bot, BotLoader().load(my_bot), NumberPlan(my_bot, PCMA_8K))
    assert (rehearsed.fault, rehearsed.hears) == ("", True)


async def test_it_greets_answers_and_is_interrupted(fakes: FakeProviders, phone: Phone, my_bot: str) -> None:
    caller = await phone(my_bot)
    await caller.until(lambda: caller.heard_s > 1)
    await caller.until_quiet()
    assert list(caller.voices()) == [NOBODY]
    await caller.say(caller_speech(5, "long", seconds=0.7))
    await caller.until(lambda: caller.voices().get(5, 0) > 1)
    await caller.say(caller_speech(5, seconds=0.7))
    await caller.until(lambda: caller.carrier.events("clearAudio"))
    await caller.until_quiet(1.0)
    assert fakes.openai.requests == 2


async def test_a_hangup_ends_it(fakes: FakeProviders, phone: Phone, my_bot: str) -> None:
    caller = await phone(my_bot, reconnect_window_s=0)
    await caller.until(lambda: caller.heard_s > 0.5)
    await caller.hang_up()
    await caller.carrier.hang_up()
    assert (await caller.fleet.ended()).reason == "stream_closed"
    await caller.until(lambda: fakes.deepgram.connections == fakes.cartesia.connections == 0)
