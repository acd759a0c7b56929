import pytest

from shared.carrier.audio import loud_frames, silence, tone, trim
from shared.carrier.heard import Ear
from shared.carrier.plan import HangUp, InterruptAfter, Press, Say, Wait, WaitForBot
from shared.carrier.script import SILENT, Script, prepare
from shared.sfvopi.formats import PCMA_8K, AudioFormat, Codec


class Clock:
    """Runs a script frame by frame, and feeds the ear as the test says."""

    def __init__(self, *steps, says=()):
        self.ear = Ear(8000, prebuffer_s=0.0)
        self.told = []
        utterances = [prepare(say, say.pcm, say.rate, PCMA_8K) for say in steps if isinstance(say, Say)]
        self.script = Script(steps, utterances, self.ear, lambda kind, **data: self.told.append((kind.value, data)))
        self.now = 0.0

    def until(self, is_it, limit_s=30.0):
        """Tick until an action is as asked; returns it."""
        while self.now < limit_s:
            action = self.script.next_action(self.now)
            while not isinstance(action, str):
                if is_it(action):
                    return action
                action = self.script.next_action(self.now)
            if is_it(action):
                return action
            self.now = round(self.now + 0.02, 6)
        raise AssertionError("the caller never did it")

    def bot_speaks(self, s, at):
        self.ear.receive(tone(400, s), at)


def is_speech(action):
    return isinstance(action, str) and action != SILENT


def is_hangup(action):
    return isinstance(action, HangUp)


def test_a_caller_who_has_nothing_to_do_is_silent_and_stays():
    clock = Clock()
    assert clock.script.next_action(0.0) == SILENT
    assert clock.script.next_action(60.0) == SILENT


def test_waiting_for_the_bot_lasts_until_it_was_quiet_for_long_enough():
    clock = Clock(WaitForBot(quiet_s=1.0), Say("hi", tone(300, 0.1)), HangUp())
    clock.bot_speaks(2.0, at=1.0)
    clock.until(is_speech)
    assert clock.now == pytest.approx(4.0, abs=0.03)
    clock.until(is_hangup)
    assert clock.script.errors == []
    assert clock.script.steps_left == 0


def test_waiting_for_a_bot_that_says_nothing_ends_with_an_error():
    clock = Clock(WaitForBot(limit_s=5), HangUp())
    clock.until(is_hangup)
    assert clock.now == pytest.approx(5.0, abs=0.03)
    assert clock.script.errors == ["the bot said nothing for 5 s"]


def test_waiting_for_a_bot_that_never_stops_ends_with_a_note():
    clock = Clock(WaitForBot(limit_s=5), HangUp())
    clock.bot_speaks(10, at=0.0)
    clock.until(is_hangup)
    assert clock.script.notes == ["the bot was not quiet within 5 s"]


def test_an_interruption_starts_so_long_into_the_bots_speech():
    clock = Clock(InterruptAfter(1.5), Say("stop", silence(0.1) + tone(300, 0.2)), HangUp())
    clock.bot_speaks(5, at=1.0)
    clock.until(is_speech)
    assert clock.now == pytest.approx(2.5, abs=0.03)
    clock.until(is_hangup)
    assert clock.script.turns[0].is_interruption
    assert clock.script.turns[0].from_ms == pytest.approx(2600, abs=25)  # the first loud frame, not the first
    assert clock.script.barged_in_at == pytest.approx(2.6, abs=0.03)


def test_a_bot_that_has_stopped_before_the_interruption_is_noted():
    clock = Clock(InterruptAfter(1.5), Say("stop", tone(300, 0.2)), HangUp())
    clock.bot_speaks(0.5, at=1.0)
    clock.until(is_hangup)
    assert clock.script.notes == ["the bot spoke for less than 1.5 s: there was nothing to interrupt"]
    assert not clock.script.turns[0].is_interruption
    assert clock.script.barged_in_at is None


def test_keys_take_no_time_and_waits_do():
    clock = Clock(Press("1"), Wait(0.5), Press("2"), HangUp())
    assert clock.until(lambda a: isinstance(a, Press)).digit == "1"
    assert clock.now == 0.0
    assert clock.until(lambda a: isinstance(a, Press)).digit == "2"
    assert clock.now == pytest.approx(0.5, abs=0.03)


def test_what_the_caller_says_is_told_with_its_text():
    clock = Clock(Say("hello", tone(300, 0.2)), HangUp())
    clock.until(is_hangup)
    assert clock.told == [
        ("caller_speaking", {"text": "hello", "is_interruption": False}),
        ("caller_quiet", {}),
    ]
    turn = clock.script.turns[0]
    assert (turn.from_ms, turn.to_ms) == (0.0, 180.0)


def test_speech_is_cut_into_whole_frames_of_the_format():
    utterance = prepare(Say(), tone(300, 0.25), 8000, AudioFormat(Codec.L16, 16000))
    assert len(utterance.payloads) == 13
    assert len({len(payload) for payload in utterance.payloads}) == 1


def test_silence_around_speech_is_found_and_trimmed():
    pcm = silence(0.1) + tone(300, 0.2) + silence(0.3)
    assert loud_frames(pcm, 8000) == (5, 15)
    assert len(trim(pcm, 8000)) == 3200
    assert loud_frames(silence(1), 8000) == (0, 0)
    assert trim(silence(1), 8000) == b""
