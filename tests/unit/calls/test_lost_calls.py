"""Calls that the registry does not know though their tokens are good."""

import pytest

from shared.calls.lost import may_be_lost

SINCE, WINDOW = 1_000_000, 15_000


def is_taken(answered_ago_ms: int, now_ms: int, *, since_ms: int = SINCE, is_local: bool = False) -> bool:
    """Of a call answered so long before the registry began, with 60 s for its first stream."""
    answered_at_ms = SINCE - answered_ago_ms
    return may_be_lost(
        answered_at_ms, answered_at_ms + 60_000, now_ms, since_ms=since_ms, window_ms=WINDOW, is_local=is_local
    )


def test_a_reservation_that_was_lost_is_honoured_for_as_long_as_it_would_have_lasted() -> None:
    assert is_taken(10_000, SINCE + 50_000)
    assert not is_taken(10_000, SINCE + 50_001)


def test_a_live_call_that_was_lost_with_its_worker_may_come_back_for_as_long_as_a_carrier_takes() -> None:
    assert is_taken(1_800_000, SINCE + WINDOW)
    assert not is_taken(1_800_000, SINCE + WINDOW + 1), "it may have ended long ago: no ghost gets in for ever"


@pytest.mark.parametrize("since_ms", [SINCE, 0])
def test_what_was_answered_since_would_be_known(since_ms: int) -> None:
    assert not is_taken(-3_600_000, SINCE + 1, since_ms=since_ms)
    assert not is_taken(0, SINCE)


def test_what_a_gateway_placed_alone_may_be_told_later() -> None:
    assert is_taken(-20_000, SINCE + 21_000, is_local=True)
    assert not is_taken(-20_000, SINCE + 81_000, is_local=True)


def test_a_registry_that_was_told_nothing_yet_may_have_known_anything() -> None:
    assert is_taken(10_000, SINCE, since_ms=0)
