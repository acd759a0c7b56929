"""Was a caller answered, and was an interruption obeyed?"""

import pytest

from shared.carrier.load.turns import Turn, Turns


def one(turns: Turns) -> Turn:
    (turn,) = turns.all
    return turn


def test_the_first_audio_after_the_callers_last_sound_is_the_answer() -> None:
    turns = Turns()
    turns.began(10.0, bot_is_audible=False)
    turns.ended(11.5)
    turns.audio(12.5)
    turns.audio(12.6)
    assert one(turns).response_s == pytest.approx(1.0)
    assert one(turns).is_obeyed is None


def test_an_interruption_that_is_cleared_is_obeyed_and_what_comes_then_is_the_answer() -> None:
    turns = Turns()
    turns.began(10.0, bot_is_audible=True)
    turns.audio(10.1)
    turns.cleared(10.25)
    turns.ended(11.5)
    turns.audio(12.4)
    assert one(turns).is_obeyed is True
    assert one(turns).clear_s == pytest.approx(0.25)
    assert one(turns).response_s == pytest.approx(0.9)


def test_an_interruption_over_which_the_bot_goes_on_talking_is_disobeyed_and_unanswered() -> None:
    turns = Turns()
    turns.began(10.0, bot_is_audible=True)
    turns.ended(11.5)
    turns.audio(12.0)
    turns.fell_silent(13.0)
    assert one(turns).is_obeyed is False
    assert one(turns).answered_at is None
    turns.audio(14.0)
    assert one(turns).response_s == pytest.approx(2.5)


def test_a_bot_that_had_nearly_finished_had_nothing_to_obey() -> None:
    turns = Turns()
    turns.began(10.0, bot_is_audible=True)
    turns.fell_silent(10.3)
    turns.cleared(10.35)
    assert one(turns).is_obeyed is None
    assert one(turns).clear_s is None


def test_silence_from_before_the_turn_ends_nothing() -> None:
    turns = Turns()
    turns.began(10.0, bot_is_audible=True)
    turns.fell_silent(9.9)
    assert one(turns).silent_at is None


def test_audio_right_behind_a_clear_is_what_was_cleared_and_no_answer() -> None:
    turns = Turns()
    turns.began(10.0, bot_is_audible=True)
    turns.cleared(10.2)
    turns.audio(10.22)
    turns.ended(11.5)
    turns.audio(12.4)
    assert one(turns).sent_after_clear == 1
    assert not one(turns).is_premature
    assert one(turns).response_s == pytest.approx(0.9)


def test_an_answer_into_the_question_is_premature_and_no_response_time() -> None:
    turns = Turns()
    turns.began(10.0, bot_is_audible=False)
    turns.audio(10.5)
    turns.ended(11.5)
    assert one(turns).is_premature
    assert one(turns).response_s is None


def test_a_turn_without_an_answer_stays_unanswered_when_the_next_begins() -> None:
    turns = Turns()
    turns.began(10.0, bot_is_audible=False)
    turns.ended(11.0)
    turns.began(20.0, bot_is_audible=False)
    turns.ended(21.0)
    turns.audio(22.0)
    assert [turn.answered_at for turn in turns.all] == [None, 22.0]
