"""The made-up speech is speech to the voice activity detection, and every caller and voice can be told by its audio."""

import audioop
from itertools import pairwise

import numpy as np
import pytest

from tests.fakes.tones import CALLERS, INTENTS, NOBODY, RATE, caller_speech, heard_voices, phrase, recognise, voice
from worker.pipeline.vad import SharedSileroVADAnalyzer


def through_the_trunk(pcm: bytes) -> bytes:
    return audioop.alaw2lin(audioop.lin2alaw(pcm, 2), 2)


@pytest.mark.parametrize("intent", list(INTENTS))
def test_every_caller_is_recognised_through_a_law(intent: str) -> None:
    for caller in range(CALLERS):
        assert recognise(through_the_trunk(caller_speech(caller, intent)), RATE) == phrase(caller, intent)


def test_noise_silence_and_the_bots_own_echo_are_no_phrase() -> None:
    noise = np.random.default_rng(1).normal(0, 3000, RATE).astype("<i2").tobytes()
    assert recognise(noise, RATE) == ""
    assert recognise(bytes(2 * RATE), RATE) == ""
    assert recognise(voice("You said: this is caller 5.", RATE), RATE) == ""


@pytest.mark.parametrize("caller", [0, 20, CALLERS - 1])
@pytest.mark.parametrize("intent", list(INTENTS))
async def test_made_up_speech_starts_a_turn_within_half_a_second(caller: int, intent: str) -> None:
    analyzer = SharedSileroVADAnalyzer(sample_rate=RATE)
    analyzer.set_sample_rate(RATE)
    audio = bytes(RATE) + through_the_trunk(caller_speech(caller, intent)) + bytes(RATE)
    states = [
        (await analyzer.analyze_audio(audio[start : start + 320])).name for start in range(0, len(audio) - 320, 320)
    ]
    assert 25 < states.index("SPEAKING") < 25 + 25
    assert states[-1] == "QUIET"
    turns = sum(1 for a, b in pairwise(states) if a == "STARTING" and b == "SPEAKING")
    assert turns == 1


def test_each_voice_is_told_from_all_others_in_a_recording() -> None:
    for caller in range(CALLERS):
        assert list(heard_voices(through_the_trunk(voice(f"You said: this is caller {caller}.", RATE)))) == [caller]
    assert list(heard_voices(voice("Hello, welcome.", RATE))) == [NOBODY]


def test_another_callers_voice_in_a_mixture_is_noticed() -> None:
    mixture = audioop.add(voice("caller 3 here", RATE), audioop.mul(voice("caller 9 here", RATE), 2, 0.5), 2)
    assert set(heard_voices(mixture)) == {3, 9}
