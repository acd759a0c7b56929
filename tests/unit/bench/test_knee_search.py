"""The search for the largest number of calls that is held."""

import pytest

from worker.capacity.knee import KneeSearch, resolution


def search(guess: int, true_knee: int, most: int = 120) -> tuple[KneeSearch, list[int]]:
    """Play against a subject that holds up to its knee; the holds that were made."""
    found, held = KneeSearch(guess, most), []
    while (calls := found.next()) is not None:
        assert len(held) < 20, held
        held.append(calls)
        found.held(calls, is_kept=calls <= true_knee)
    return found, held


@pytest.mark.parametrize("true_knee", [1, 2, 3, 7, 10, 31, 50, 99])
@pytest.mark.parametrize("guess", [1, 5, 30, 60, 119])
def test_whatever_the_guess_it_ends_near_the_truth_and_never_above(guess: int, true_knee: int) -> None:
    found, held = search(guess, true_knee)
    assert found.passed is not None
    assert true_knee - resolution(true_knee) < found.passed <= true_knee
    assert len(held) <= 12
    assert len(set(held)) == len(held)
    assert not found.is_open


def test_a_good_guess_takes_two_holds() -> None:
    assert search(7, 7)[1] == [7, 8]


def test_a_subject_that_holds_not_even_one_call_has_a_knee_of_nought() -> None:
    found, held = search(3, 0)
    assert found.passed == 0
    assert held[-1] == 1
    assert not found.is_open


def test_it_never_goes_beyond_the_most_and_then_says_that_there_may_be_more() -> None:
    found, held = search(100, 500, most=120)
    assert found.passed == 120
    assert max(held) == 120
    assert found.is_open


def test_before_the_first_hold_and_after_a_pass_alone_the_knee_is_open() -> None:
    found = KneeSearch(10, 120)
    assert found.passed is None
    assert found.is_open
    found.held(10, is_kept=True)
    assert found.passed == 10
    assert found.is_open


def test_failures_alone_confirm_nothing() -> None:
    found = KneeSearch(50, 120)
    found.held(50, is_kept=False)
    assert found.passed is None
    assert found.next() == 45


@pytest.mark.parametrize(("true_knee", "found_with"), [(13, [11, 13, 15]), (12, [11, 13]), (9, [11, 7, 9, 10])])
def test_with_large_steps_it_takes_few_holds(true_knee: int, found_with: list[int]) -> None:
    found, held = KneeSearch(11, 120, suspect=15, fineness=5), []
    while (calls := found.next()) is not None:
        held.append(calls)
        found.held(calls, is_kept=calls <= true_knee)
    assert held == found_with
    assert true_knee - 2 < (found.passed or 0) <= true_knee
    assert not found.is_open


def test_past_the_number_with_which_the_ramp_broke_it_goes_only_when_that_was_held() -> None:
    found = KneeSearch(36, 120, suspect=37)
    found.held(36, is_kept=True)
    assert found.next() == 37
    found.held(37, is_kept=True)
    assert found.next() == 45
