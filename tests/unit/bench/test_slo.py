"""What a core has to keep to for its calls to count."""

from dataclasses import replace

import pytest

from worker.capacity.figures import Counters, Figures, Window
from worker.capacity.slo import MANNERS, broken, disturbances, judged

_NOW = Counters(at=0.0, cpu_s=0.0, rss_mb=100.0, core_idle_s=0.0, dropped=0)
_NOTHING = Window(_NOW, replace(_NOW, at=20.0, core_idle_s=20.0), [], [[]], []).figures()
GOOD = replace(
    _NOTHING,
    loop_lag_p99_ms=19.9,
    barge_in_p95_ms=500.0,
    response_p50_ms=1099.0,
    client_lag_p99_ms=1.0,
    client_lag_max_ms=5.0,
)


def test_what_is_just_within_its_limits_is_kept() -> None:
    assert broken(GOOD, 1000.0) == []


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        (replace(GOOD, loop_lag_p99_ms=20.0), "loop lag p99 20 ms (limit 20)"),
        (replace(GOOD, barge_in_p95_ms=501.0), "barge-in p95 501 ms (limit 500)"),
        (replace(GOOD, response_p50_ms=1101.0), "response p50 1101 ms (limit 1100)"),
        (replace(GOOD, underruns=1), "underruns: 1"),
        (replace(GOOD, disobeyed=2), "interruptions disobeyed: 2"),
        (replace(GOOD, unanswered=3), "turns unanswered: 3"),
        (replace(GOOD, calls_lost=1), "calls lost: 1"),
    ],
)
def test_each_limit_breaks_by_itself(figures: Figures, reason: str) -> None:
    assert broken(figures, 1000.0) == [reason]


@pytest.mark.parametrize("name", ["loop_lag_p99_ms", "barge_in_p95_ms", "response_p50_ms", "unanswered", "disobeyed"])
def test_what_was_not_measured_was_not_kept(name: str) -> None:
    (reason,) = broken(replace(GOOD, **{name: None}), 1000.0)
    assert reason.endswith("not measured")


def test_what_was_not_measured_is_not_told_beside_what_was_broken() -> None:
    assert broken(replace(GOOD, underruns=1, unanswered=None, response_p50_ms=None), 1000.0) == ["underruns: 1"]


def test_without_the_response_of_one_call_that_of_many_cannot_be_judged() -> None:
    assert broken(GOOD, None) == ["response p50 not measured"]


def test_manners_that_a_bot_does_not_have_may_be_left_apart_and_nothing_else() -> None:
    rude = replace(GOOD, disobeyed=2, barge_in_p95_ms=None)
    assert set(judged(rude, 1000.0)) == {"interruptions disobeyed", "barge-in p95"} <= MANNERS
    assert broken(rude, 1000.0, apart=MANNERS) == []
    assert broken(replace(rude, calls_lost=1), 1000.0, apart=MANNERS) == ["calls lost: 1"]
    assert broken(replace(rude, loop_lag_p99_ms=30.0), 1000.0, apart=MANNERS) == ["loop lag p99 30 ms (limit 20)"]


def test_a_late_client_or_a_core_that_others_used_disturbs() -> None:
    assert disturbances(GOOD) == []
    assert disturbances(replace(GOOD, client_lag_p99_ms=6.0)) == ["client late: p99 6, max 5 ms"]
    assert disturbances(replace(GOOD, client_lag_max_ms=41.0)) == ["client late: p99 1, max 41 ms"]
    assert disturbances(replace(GOOD, others_on_core_pct=20.0)) == ["others had 20 % of the core"]
    assert disturbances(replace(GOOD, client_lag_p99_ms=None)) == ["the client sent nothing"]
