"""Which sentences the caller has really heard."""

from worker import hearing
from worker.hearing import Hearing


class Carrier:
    """Is asked, and answers when the test says so. `quiet_at`: long ago, unless said otherwise."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.quiet_at = float("inf")
        self.hearing = Hearing(self.ask, lambda: self.quiet_at)

    async def ask(self, name: str) -> bool:
        self.asked.append(name)
        return True

    async def say(self, *sentences: str) -> None:
        for sentence in sentences:
            self.hearing.begun(sentence)
            await self.hearing.ended()


async def test_a_sentence_is_unheard_from_its_beginning_until_the_carrier_has_played_it() -> None:
    carrier = Carrier()
    carrier.hearing.begun("One.")
    assert carrier.hearing.unheard == ["One."]
    await carrier.hearing.ended()
    assert carrier.hearing.unheard == ["One."]
    assert carrier.hearing.played(carrier.asked[0])
    assert carrier.hearing.unheard == []


async def test_what_was_played_includes_all_before_it() -> None:
    carrier = Carrier()
    await carrier.say("One.", "Two.", "Three.")
    assert carrier.hearing.played(carrier.asked[1])
    assert carrier.hearing.unheard == ["Three."]
    assert carrier.hearing.played(carrier.asked[0]), "late, and ours all the same"
    assert carrier.hearing.unheard == ["Three."]


async def test_an_interruption_leaves_nothing_to_be_said_again() -> None:
    carrier = Carrier()
    await carrier.say("One.")
    carrier.hearing.begun("Two.")
    carrier.hearing.interrupted()
    assert carrier.hearing.unheard == []


async def test_a_carrier_that_never_answers_is_not_waited_for() -> None:
    carrier = Carrier()
    carrier.quiet_at = -hearing.PATIENCE_S
    await carrier.say("One.")
    assert carrier.hearing.unheard == []


async def test_nothing_is_asked_about_nothing_and_the_bots_own_checkpoints_are_not_ours() -> None:
    carrier = Carrier()
    await carrier.hearing.ended()
    assert carrier.asked == []
    assert not carrier.hearing.played("greeting_complete")
