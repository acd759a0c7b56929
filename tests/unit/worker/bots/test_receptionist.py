"""The receptionist on the telephone, in a real worker, with fake providers at the wire."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.fakes.providers import FakeProviders
from tests.fakes.tones import NOBODY, caller_speech

pytestmark = pytest.mark.xdist_group("calls in real time")

Phone = Callable[..., Awaitable[Any]]


async def test_it_greets_answers_is_interrupted_and_says_goodbye_to_its_end(fakes: FakeProviders, phone: Phone) -> None:
    caller = await phone()
    await caller.until(lambda: "greeting_complete" in caller.checkpoints())
    assert list(caller.voices()) == [NOBODY]

    await caller.say(caller_speech(5, seconds=0.7))
    await caller.until(lambda: caller.voices().get(5, 0) > 1)
    await caller.until_quiet()

    heard_s = caller.heard_s
    await caller.say(caller_speech(5, "long", seconds=0.7))
    await caller.until(lambda: caller.voices(heard_s).get(5, 0) > 1)
    clears = len(caller.carrier.events("clearAudio"))
    await caller.say(caller_speech(5, seconds=0.7))
    assert len(caller.carrier.events("clearAudio")) == clears + 1
    cut_at_s = caller.heard_s
    await caller.until(lambda: caller.voices(cut_at_s).get(5, 0) > 1)  # what interrupted is answered, too
    await caller.until_quiet(1.0)
    assert caller.voices(heard_s)[5] < 12, "the long story was not cut off"

    heard_s = caller.heard_s
    await caller.say(caller_speech(5, "goodbye", seconds=0.7))
    assert await caller.carrier.closed(10) == 1000
    assert 0.9 < caller.voices(heard_s)[5] < 2.5, "Goodbye, this is caller 5."
    record = await caller.fleet.ended()
    assert record.reason == "bot_ended"
    assert fakes.deepgram.connections == fakes.cartesia.connections == 0


@pytest.mark.parametrize("stt_s", [0.05, 0.4])
async def test_a_hello_at_pick_up_does_not_swallow_the_greeting(
    fakes: FakeProviders, phone: Phone, stt_s: float
) -> None:
    fakes.deepgram.latency_s = stt_s  # what was said in the deaf second is recognised within it, or after
    caller = await phone()
    await caller.say(caller_speech(1, seconds=0.6))
    await caller.until(lambda: "greeting_complete" in caller.checkpoints())
    assert not caller.carrier.events("clearAudio")
    assert caller.voices() == {NOBODY: 3.3}


async def test_the_greeting_can_be_interrupted_once_it_is_under_way(fakes: FakeProviders, phone: Phone) -> None:
    caller = await phone()
    await caller.until(lambda: caller.heard_s > 1.6)
    await caller.say(caller_speech(2))
    await caller.until(lambda: 2 in caller.voices())
    assert len(caller.carrier.events("clearAudio")) == 1
    assert "greeting_complete" not in caller.checkpoints()


async def test_a_key_is_answered_without_the_model(fakes: FakeProviders, phone: Phone) -> None:
    caller = await phone()
    await caller.until(lambda: caller.heard_s > 0.5)
    await caller.carrier.press("1")
    await caller.until(lambda: caller.carrier.events("clearAudio"))
    await caller.until_quiet()
    assert caller.voices()[NOBODY] > 4
    assert fakes.openai.requests == 0


async def test_the_hangup_closes_every_providers_socket(fakes: FakeProviders, phone: Phone) -> None:
    caller = await phone(reconnect_window_s=0)
    await caller.until(lambda: caller.heard_s > 0.5)
    await caller.hang_up()
    await caller.carrier.hang_up()
    await caller.fleet.ended()
    await caller.until(lambda: fakes.deepgram.connections == fakes.cartesia.connections == 0)


async def ask(caller: Any, number: int) -> None:
    """Speak until it is answered: on a busy machine, speech that comes in bursts is not always understood at once."""
    for _ in range(5):
        await caller.say(caller_speech(number))
        with contextlib.suppress(TimeoutError):
            await caller.until(lambda: number in caller.voices(), 5, every_s=0.3)  # telling voices apart takes its time
            return


async def test_two_callers_at_once_each_hear_their_own_voice(fakes: FakeProviders, phone: Phone) -> None:
    first = await phone(calls_per_worker=10)
    callers = [first]
    carrier = await first.fleet.call("call-2", bot="worker.bots.receptionist:bot")
    callers.append(type(first)(carrier))
    await asyncio.gather(*(caller.until(lambda c=caller: "greeting_complete" in c.checkpoints()) for caller in callers))
    await asyncio.gather(*(ask(caller, 4 * number) for number, caller in enumerate(callers)))
    await asyncio.gather(*(caller.until_quiet(1.0) for caller in callers))
    for number, caller in enumerate(callers):
        assert set(caller.voices()) == {NOBODY, 4 * number}
    for caller in callers[1:]:
        await caller.hang_up()
