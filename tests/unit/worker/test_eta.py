"""When the last call will have ended, from how long calls of its bot lasted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.calls.record import CallRecord
from shared.calls.state import CallState
from worker.eta import LiveCall, lengths_of, time_until_last

MAX_S = 3600.0


def eta(*ages, lengths=(), max_s=MAX_S):
    return time_until_last([LiveCall("bot", age) for age in ages], {"bot": sorted(lengths)}, max_s)


def test_nobody_is_there():
    assert eta() == 0


def test_a_call_whose_bot_has_no_past_may_last_as_long_as_any():
    assert eta(600.0) == pytest.approx(3000)


def test_a_call_ends_like_those_that_got_as_old():
    assert eta(50.0, lengths=[10, 60, 100]) == pytest.approx((10 + 50) / 2, rel=0.05)


def test_the_last_of_many_calls_takes_longer_than_one():
    lengths = [30, 60, 90, 120]
    assert eta(0.0, lengths=lengths) == pytest.approx(75, rel=0.05)
    assert 100 < eta(*[0.0] * 5, lengths=lengths) < 120


def test_a_call_that_has_outlasted_all_is_expected_to_last_as_long_again():
    assert eta(150.0, lengths=[100]) == pytest.approx(150)
    assert eta(3500.0, lengths=[100]) == pytest.approx(100)


def test_bots_have_pasts_of_their_own():
    calls = [LiveCall("quick", 0), LiveCall("slow", 0)]
    assert time_until_last(calls, {"quick": [10.0], "slow": [300.0]}, MAX_S) == pytest.approx(300)


@given(st.lists(st.floats(0, 4000), max_size=5), st.lists(st.floats(0, 4000), max_size=20), st.floats(1, 4000))
def test_it_is_never_longer_than_the_longest_call(ages, lengths, max_s):
    at_most = max((max(0.0, max_s - age) for age in ages), default=0.0)
    assert 0 <= eta(*ages, lengths=lengths, max_s=max_s) <= at_most + 1e-6


def test_lengths_are_those_of_calls_that_ended_after_somebody_talked():
    def record(call_id, **fields):
        return CallRecord(call_id, **{"state": CallState.ENDED, "bot": "bot", "ended_at_ms": 100_000, **fields})

    records = [
        record("a", first_attached_at_ms=40_000),
        record("b", first_attached_at_ms=90_000),
        record("never attached"),
        record("lives", first_attached_at_ms=1_000, state=CallState.ACTIVE),
        record("other", first_attached_at_ms=99_000, bot="other"),
    ]
    assert lengths_of(records) == {"bot": [10.0, 60.0], "other": [1.0]}
