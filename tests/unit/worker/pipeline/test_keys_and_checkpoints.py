"""Keys that a bot answers itself, checkpoints that it hears of, and the first second of a call."""

import pytest
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ErrorFrame,
    Frame,
    InputDTMFFrame,
    InputTransportMessageFrame,
    InterruptionFrame,
    TranscriptionFrame,
    TTSSpeakFrame,
    UserAudioRawFrame,
    UserSpeakingFrame,
)

from tests.fakes.pipelines import running
from worker.pipeline.checkpoints import CheckpointWatcher, checkpoint
from worker.pipeline.dtmf import DTMFRouter
from worker.pipeline.pickup import MuteAtPickUpStrategy


def key(digit: str) -> InputDTMFFrame:
    return InputDTMFFrame(button=KeypadEntry(digit))


async def test_a_known_key_silences_the_bot_and_is_answered_without_the_model() -> None:
    async with running(DTMFRouter({"1": "We open at nine."})) as pipeline:
        await pipeline.send(key("1"))
        assert (await pipeline.until_seen(TTSSpeakFrame)).text == "We open at nine."
        assert pipeline.seen(InterruptionFrame)
        assert pipeline.seen_up(InterruptionFrame)
        assert not pipeline.seen(InputDTMFFrame)


async def test_a_key_may_have_an_action_of_its_own() -> None:
    async def transfer(router: DTMFRouter) -> None:
        await router.say("One moment, please.")

    async with running(DTMFRouter({"0": transfer})) as pipeline:
        await pipeline.send(key("0"))
        assert (await pipeline.until_seen(TTSSpeakFrame)).text == "One moment, please."


async def test_an_unknown_key_goes_on_and_interrupts_nothing() -> None:
    async with running(DTMFRouter({"1": "x"})) as pipeline:
        await pipeline.send(key("7"))
        assert (await pipeline.until_seen(InputDTMFFrame)).button is KeypadEntry.SEVEN
        assert not pipeline.seen(InterruptionFrame)


async def test_a_played_checkpoint_is_told_once_by_its_name() -> None:
    played: list[str] = []
    watcher = CheckpointWatcher()

    async def note(_: CheckpointWatcher, name: str) -> None:
        played.append(name)

    watcher.add_event_handler("on_checkpoint_played", note)
    async with running(watcher) as pipeline:
        for message in ({"event": "clearedAudio"}, "junk", {"event": "playedStream", "name": "greeting"}):
            await pipeline.send(InputTransportMessageFrame(message=message))
        await pipeline.until(lambda: played)
        assert len(pipeline.seen(InputTransportMessageFrame)) == 3
    assert played == ["greeting"]
    assert checkpoint("greeting").message == {"event": "checkpoint", "name": "greeting"}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


AUDIO = UserAudioRawFrame(audio=bytes(320), sample_rate=8000, num_channels=1)


async def test_hello_at_pick_up_is_not_heard_but_a_barge_in_into_the_greeting_is() -> None:
    clock = Clock()
    strategy = MuteAtPickUpStrategy(deaf_s=1.0, patience_s=3.0, clock=clock)
    assert await strategy.process_frame(AUDIO)
    clock.now += 2.5
    assert await strategy.process_frame(BotStartedSpeakingFrame())
    clock.now += 0.9
    assert await strategy.process_frame(AUDIO)
    clock.now += 0.2
    assert not await strategy.process_frame(AUDIO)
    assert not await strategy.process_frame(BotStartedSpeakingFrame()), "only the first second of a call is special"


WORDS = TranscriptionFrame("hello", user_id="", timestamp="")


async def test_the_words_of_what_was_not_heard_are_not_heard_either() -> None:
    clock = Clock()
    strategy = MuteAtPickUpStrategy(deaf_s=1.0, clock=clock)
    await strategy.process_frame(BotStartedSpeakingFrame())
    clock.now += 0.8
    await strategy.process_frame(UserSpeakingFrame())
    clock.now += 0.4
    assert await strategy.process_frame(AUDIO), "its words are not recognised yet"
    assert await strategy.process_frame(WORDS)
    assert await strategy.process_frame(AUDIO), "these may have been the words of an earlier hello"
    clock.now += 1.2
    assert not await strategy.process_frame(AUDIO)


@pytest.mark.parametrize(("after_s", "frame"), [(0.5, UserSpeakingFrame()), (1.6, AUDIO)])
async def test_who_speaks_on_or_whose_words_never_come_is_heard(after_s: float, frame: Frame) -> None:
    clock = Clock()
    strategy = MuteAtPickUpStrategy(deaf_s=1.0, clock=clock)
    await strategy.process_frame(BotStartedSpeakingFrame())
    clock.now += 0.8
    await strategy.process_frame(UserSpeakingFrame())
    clock.now += after_s
    assert not await strategy.process_frame(frame)


@pytest.mark.parametrize("frame", [BotStoppedSpeakingFrame(), ErrorFrame("no voice")])
async def test_a_short_or_failed_greeting_ends_the_deafness(frame: Frame) -> None:
    strategy = MuteAtPickUpStrategy(clock=Clock())
    await strategy.process_frame(BotStartedSpeakingFrame())
    assert not await strategy.process_frame(frame)


async def test_a_greeting_that_never_comes_is_not_waited_for() -> None:
    clock = Clock()
    strategy = MuteAtPickUpStrategy(patience_s=3.0, clock=clock)
    assert await strategy.process_frame(AUDIO)
    clock.now += 3.1
    assert not await strategy.process_frame(AUDIO)
