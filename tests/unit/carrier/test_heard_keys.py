"""What the carrier's ear takes for a key, and what it does not."""

import array
import wave
from pathlib import Path

import pytest

from shared.carrier.audio import noise, silence, tone
from shared.carrier.heard_keys import HIGH, KEYS, LOW, heard_keys
from shared.sfvopi.formats import PCMA_8K
from shared.sfvopi.g711 import decode, encode

SPEECH = Path(__file__).parents[3] / "shared" / "carrier" / "speech"


def mixed(*sounds: bytes) -> bytes:
    parts = [array.array("h", sound) for sound in sounds]
    return array.array("h", (sum(samples) for samples in zip(*parts, strict=True))).tobytes()


def key(name: str, s: float = 0.3, rate: int = 8000, level: float = 0.1, twist: float = 1.0) -> bytes:
    low, high = next(pair for pair, key in KEYS.items() if key == name)
    return mixed(tone(low, s, rate, level), tone(high, s, rate, level * twist))


def digits(pcm: bytes, rate: int = 8000) -> str:
    return "".join(heard.key for heard in heard_keys(pcm, rate))


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_every_key_is_heard_once_at_every_rate(rate):
    sound = b"".join(key(name, rate=rate) + silence(0.1, rate) for name in KEYS.values())
    assert digits(sound, rate) == "123A456B789C*0#D"


def test_a_tone_in_pieces_is_several_keys_as_a_machine_reads_it():
    pieces = (key("5", 0.1) + silence(0.06)) * 3
    assert digits(pieces) == "555"
    assert digits(key("5")) == "5"


def test_a_key_says_when_it_was_heard():
    (heard,) = heard_keys(silence(0.5) + key("7") + silence(0.5), 8000)
    assert heard.from_s == pytest.approx(0.5, abs=0.03)
    assert heard.to_s == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("twist", [0.5, 2.0])
def test_a_key_through_a_law_with_noise_and_one_tone_weaker_is_heard(twist):
    sound = mixed(key("9", twist=twist), noise(0.3, level=0.02))
    assert digits(decode(encode(sound, PCMA_8K), PCMA_8K)) == "9"


@pytest.mark.parametrize(
    "sound",
    [
        silence(0.5),
        noise(0.5, level=0.3),
        tone(LOW[0], 0.5),
        tone(HIGH[0], 0.5),
        tone(440, 0.5),
        mixed(tone(LOW[0], 0.5, level=0.3), tone(HIGH[1], 0.5, level=0.05)),
        mixed(tone(LOW[0], 0.5), tone(LOW[1], 0.5)),
        key("1", 0.03),
    ],
)
def test_what_is_no_key_is_none(sound):
    assert digits(sound) == ""


def test_speech_holds_no_keys():
    for path in SPEECH.glob("*.wav"):
        with wave.open(str(path)) as file:
            assert digits(file.readframes(file.getnframes()), file.getframerate()) == "", path.name
