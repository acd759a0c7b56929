"""The benchmark's model of the carrier's playout buffer."""

import pytest

from shared.carrier.load.playout import CarrierPlayout


def playing(*arrivals: tuple[float, float], prebuffer_s: float = 0.06) -> CarrierPlayout:
    """Audio as (when, how long)."""
    playout = CarrierPlayout(prebuffer_s)
    for at, seconds in arrivals:
        playout.receive(seconds, at)
    return playout


def test_audio_in_time_is_no_underrun() -> None:
    assert playing(*[(0.04 * n, 0.04) for n in range(50)]).underruns == []


def test_what_is_late_by_less_than_the_prebuffer_is_not_heard() -> None:
    assert playing((0.0, 0.04), (0.09, 0.04)).underruns == []


def test_what_is_later_than_that_is_an_underrun_of_that_moment() -> None:
    assert playing((0.0, 0.04), (0.11, 0.04), (0.15, 0.04)).underruns == [0.11]


def test_after_an_underrun_the_buffer_fills_up_again() -> None:
    assert playing((0.0, 0.04), (0.11, 0.04), (0.2, 0.04)).underruns == [0.11]


def test_the_guides_bursts_of_95_ms_after_80_or_120_ms_are_no_underruns() -> None:
    assert playing((0.08, 0.09475), (0.2, 0.09475), (0.28, 0.09475), (0.4, 0.09475)).underruns == []


def test_another_utterance_after_a_long_silence_is_no_underrun() -> None:
    assert playing((0.0, 0.04), (5.0, 0.04)).underruns == []


def test_the_answer_to_a_question_is_another_utterance_however_soon_it_comes() -> None:
    playout = playing((0.0, 0.04))
    playout.asked(0.2)
    playout.receive(0.04, 0.4)
    assert playout.underruns == []


def test_a_question_into_what_is_being_said_excuses_no_gap_in_it() -> None:
    playout = playing((0.0, 0.2))
    playout.asked(0.1)
    playout.receive(0.04, 0.5)
    assert playout.underruns == [0.5]


def test_what_comes_after_a_clear_is_another_utterance() -> None:
    playout = playing((0.0, 1.0))
    playout.clear(0.3)
    assert not playout.is_audible(0.3)
    playout.receive(0.04, 0.6)
    assert playout.underruns == []


def test_it_knows_when_it_will_be_dry() -> None:
    playout = playing((1.0, 0.04), (1.01, 0.5))
    assert playout.dry_at == pytest.approx(1.6)
    assert playout.is_audible(1.5)
    assert not playout.is_audible(1.61)
