"""The worked examples, each on the telephone."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.fakes.providers import FakeProviders
from tests.fakes.tones import NOBODY, caller_speech

pytestmark = pytest.mark.xdist_group("calls in real time")

Phone = Callable[..., Awaitable[Any]]


async def test_the_menu_answers_a_key_and_reads_back_what_was_typed(fakes: FakeProviders, phone: Phone) -> None:
    caller = await phone("worker.bots.examples.dtmf_menu:bot")
    await caller.until(lambda: caller.heard_s > 0.3)
    await caller.carrier.press("*")
    await caller.until(lambda: len(caller.carrier.events("clearAudio")) == 1)
    heard_s = caller.heard_s
    await caller.until(lambda: caller.heard_s > heard_s + 0.5)
    for key in "47#":
        await caller.carrier.press(key)
    assert await caller.carrier.closed(12) == 1000
    assert len(caller.carrier.events("clearAudio")) == 2, "the first digit silences the bot, the others need not"


async def test_the_recording_starts_when_the_notice_was_heard(fakes: FakeProviders, phone: Phone) -> None:
    caller = await phone("worker.bots.examples.checkpoints:bot")
    await caller.until(lambda: caller.checkpoints() == ["notice"])
    assert caller.heard_s == pytest.approx(1.5, abs=0.1)
    assert await caller.carrier.closed(10) == 1000
    assert caller.heard_s == pytest.approx(1.5 + 1.8, abs=0.1)


async def test_the_notice_is_kept_and_the_story_is_not(fakes: FakeProviders, phone: Phone) -> None:
    caller = await phone("worker.bots.examples.interruptions:bot")
    await caller.until(lambda: caller.heard_s > 0.5)
    await caller.say(caller_speech(1, seconds=0.8))
    assert not caller.carrier.events("clearAudio")
    await caller.until_quiet()
    heard_s = caller.heard_s
    assert caller.voices()[NOBODY] == pytest.approx(3.9 + 1.8, abs=0.2), (
        "the notice was heard to its end, and the answer after it"
    )
    assert heard_s < 12
