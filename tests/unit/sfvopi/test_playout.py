"""The playout queue as a clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sfvopi.playout import Playout


def test_audio_plays_behind_what_was_sent_before() -> None:
    playout = Playout()
    assert playout.sent(0.5, now=10.0) == 10.0
    assert playout.sent(0.5, now=10.0) == 10.5
    assert playout.unplayed_s(10.2) == pytest.approx(0.8)
    assert playout.dry_at == pytest.approx(11.0)
    assert playout.unplayed_s(11.5) == 0.0


def test_audio_that_comes_late_leaves_a_gap() -> None:
    playout = Playout(prebuffer_s=0.06)
    assert playout.sent(0.02, now=0.0) == pytest.approx(0.06)
    assert playout.sent(0.02, now=0.075) == pytest.approx(0.08)  # the prebuffer has hidden the jitter
    late = playout.sent(0.02, now=0.2)
    assert late - 0.1 == pytest.approx(0.16)  # dry at 0.1, heard again at 0.26


def test_a_clear_drops_what_is_not_yet_played() -> None:
    playout = Playout()
    playout.sent(1.0, now=0.0)
    assert playout.cleared(0.4) == pytest.approx(0.6)
    assert playout.unplayed_s(0.4) == 0.0
    assert playout.cleared(0.5) == 0.0
    assert playout.dry_at == pytest.approx(0.4)


def test_audio_that_must_be_kept_is_known_until_it_has_been_played() -> None:
    playout = Playout()
    playout.sent(0.5, now=0.0)
    playout.sent(0.5, now=0.0, keep=True)
    playout.sent(0.5, now=0.0)
    assert playout.is_keeping(0.9)
    assert not playout.is_keeping(1.1)
    assert playout.unplayed_s(1.1) == pytest.approx(0.4)


def test_a_clear_before_the_prebuffer_is_full_drops_the_audio_alone() -> None:
    playout = Playout(prebuffer_s=0.06)
    playout.sent(0.02, now=0.0)
    assert playout.unplayed_s(0.01) == pytest.approx(0.02)
    assert playout.cleared(0.01) == pytest.approx(0.02)
    assert playout.sent(0.02, now=0.02) == pytest.approx(0.08)


steps = st.lists(st.tuples(st.floats(0, 1), st.floats(0.001, 1), st.booleans()), max_size=50)


@given(steps, st.floats(0, 0.2))
def test_sound_is_neither_lost_nor_made(steps: list[tuple[float, float, bool]], prebuffer_s: float) -> None:
    """What was sent is played, dropped or still queued; no two pieces are played at once."""
    playout, now = Playout(prebuffer_s), 0.0
    queued: list[tuple[float, float]] = []
    for wait_s, duration_s, clear in steps:
        now += wait_s
        if clear:
            expected = sum(end - max(now, begin) for begin, end in queued if end > now)
            assert playout.cleared(now) == pytest.approx(expected)
            queued = [(begin, min(end, now)) for begin, end in queued if begin < now]
        begins_at = playout.sent(duration_s, now)
        assert begins_at >= max([now, *(end for _, end in queued)]) - 1e-9
        queued.append((begins_at, begins_at + duration_s))
    assert playout.unplayed_s(now) == pytest.approx(sum(end - max(now, begin) for begin, end in queued if end > now))
