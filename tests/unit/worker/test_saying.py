"""What was heard of what the bot said, for every way in which voices tell of it."""

import pytest

from worker.saying import Said, Saying


class Voice:
    """A bot's voice and its line, told second by second: `sent` is audio on its way to the caller."""

    def __init__(self) -> None:
        self.saying = Saying()
        self.now = 0.0
        self.quiet_at = 0.0
        self._number = 0

    def announces(self, text: str) -> "Voice":
        self._number += 1
        self.saying.begins(self._number, text, self.now, self.quiet_at)
        return self

    def words(self, *words: str, of: int = 0) -> "Voice":
        for word in words:
            self.saying.words_came(f" {word}", of or self._number, self.now, self.quiet_at)
        return self

    def sent(self, seconds: float) -> "Voice":
        self.quiet_at = max(self.now, self.quiet_at) + seconds
        return self

    def after(self, seconds: float) -> "Voice":
        self.now += seconds
        return self

    def ends(self, *unheard: str) -> Said | None:
        return self.saying.ends(self.now, self.quiet_at, unheard)


ONE, TWO = "We open at nine.", "We close at ten."


def times() -> Voice:
    """A voice that gives its words' times, and announces the second sentence early."""
    return Voice().announces(ONE).sent(1.2).announces(TWO).sent(1.0)


def behind() -> Voice:
    """A voice whose text comes behind its audio."""
    return Voice().announces(ONE).sent(1.2).after(1.0).words(ONE)


CUTS = {
    "words one by one, within the first": (
        times().after(0.6).words("We", "open", of=1),
        Said(f"{ONE} {TWO}", "We open"),
    ),
    "words one by one, within the second": (
        times().after(1.6).words("We", "open", "at", "nine.", of=1).words("We", of=2),
        Said(f"{ONE} {TWO}", f"{ONE} We"),
    ),
    "words one by one, before the second": (
        times().after(1.2).words("We", "open", "at", "nine.", of=1),
        Said(f"{ONE} {TWO}", ONE),
    ),
    "text behind the audio, within the first": (Voice().announces(ONE).sent(0.8).after(0.6), Said(ONE, "", 0.6)),
    "text behind the audio, its tail unplayed": (behind(), Said(ONE, "", 1.0)),
    "text behind the audio, within the second": (
        behind().announces(TWO).sent(1.0).after(0.7),
        Said(f"{ONE} {TWO}", ONE, 0.5),
    ),
    "text behind the audio, the second not begun": (
        behind().after(0.4).announces(TWO),
        Said(f"{ONE} {TWO}", ONE, 0.0),
    ),
    "text before the audio, two of them": (
        Voice().announces(ONE).words(ONE).announces(TWO).words(TWO).sent(2.2).after(1.5),
        Said(f"{ONE} {TWO}", "", 1.5),
    ),
    "announced, and no sound yet": (Voice().announces(ONE).after(2.0), Said(ONE, "", 0.0)),
    "played to its end": (behind().after(0.5), Said(ONE)),
    "text before the audio, played to its end": (Voice().announces(ONE).words(ONE).sent(1.2).after(1.5), Said(ONE)),
    "words that nobody announced": (Voice().words("Hello.").sent(0.5).after(0.2), Said("Hello.", "", 0.2)),
    "nothing": (Voice(), None),
}


@pytest.mark.parametrize(("voice", "said"), CUTS.values(), ids=CUTS)
def test_when_the_bot_is_cut_it_is_told_what_surely_was_heard(voice: Voice, said: Said | None) -> None:
    assert voice.ends() == said


def test_a_sentence_that_the_carrier_has_not_played_to_its_end_is_not_heard() -> None:
    voice = behind().after(0.3).announces(TWO).sent(1.0)
    assert voice.ends(ONE) == Said(f"{ONE} {TWO}", "", 1.3)


def test_what_was_said_is_told_once_when_the_bot_is_silent() -> None:
    voice = behind().after(0.5)
    assert voice.saying.stops() == (ONE, [])
    assert voice.saying.stops() == ("", [])
    assert voice.ends() is None


def test_a_pause_within_a_sentence_splits_what_is_told_and_loses_nothing() -> None:
    voice = Voice().announces(ONE).sent(0.5).after(0.5).words("We", "open")
    assert voice.saying.stops() == ("We open", [])
    voice.sent(0.5).after(0.2).words("at")
    assert voice.ends() == Said("at nine.", "at")


def test_what_the_voice_left_out_is_told_as_not_heard() -> None:
    voice = Voice().announces(ONE).sent(0.4).after(2.0).announces(TWO).sent(1.0).after(1.0).words(TWO)
    assert voice.saying.stops() == (TWO, [Said(ONE, "", 0.4)])


def test_a_voice_that_never_gives_words_has_said_what_it_announced() -> None:
    voice = Voice().announces(ONE).sent(1.0).announces(TWO).sent(1.0).after(2.0)
    assert voice.saying.stops() == (f"{ONE} {TWO}", [])
    assert voice.ends() is None
