"""Statistics, and what a stretch of time comes to."""

import dataclasses

import pytest

from shared.carrier.load.call import Call
from worker.capacity.figures import (
    Counters,
    Figures,
    Window,
    greeting_ms,
    middle,
    percentile,
    rounded,
    stall_of_ms,
    worst,
)
from worker.capacity.loop_lag import EVERY_S, spread_out

BEGIN = Counters(at=100.0, cpu_s=10.0, rss_mb=100.0, core_idle_s=50.0, dropped=0)
END = Counters(at=110.0, cpu_s=14.0, rss_mb=110.0, core_idle_s=55.0, dropped=2)


def test_percentiles_are_values_that_occurred() -> None:
    values = list(range(1, 101))
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile([7.0], 99) == 7.0
    assert percentile([1.0, 9.0], 99) == 9.0


def test_of_nothing_nothing_is_known() -> None:
    assert percentile([], 50) is None
    assert middle([None, None]) is None
    assert worst([None]) is None
    assert worst([]) is None


def test_what_is_unknown_is_left_out() -> None:
    assert middle([None, 1.0, 3.0]) == 2.0
    assert worst([None, 1.0, 3.0]) == 3.0


def test_figures_have_as_many_digits_as_mean_something() -> None:
    assert rounded(123.456) == 123.5
    assert rounded(0.12345) == 0.123
    assert rounded(None) is None
    assert rounded(7) == 7


def test_a_standstill_counts_for_every_moment_that_fell_into_it() -> None:
    spread = list(spread_out([(1.0, 0.001), (2.0, 0.1)]))
    assert spread[0] == 0.001
    assert len(spread) == pytest.approx(1 + 0.1 / EVERY_S, abs=1)
    assert max(spread) == 0.1
    assert sorted(spread, reverse=True)[1] == pytest.approx(0.095)


def talked(began_at: float, answered_after_s: float | None = 1.0, number: int = 0) -> Call:
    """A call with one turn of a second."""
    call = Call(number, f"call-{number}", began_at - 5)
    call.turns.began(began_at, bot_is_audible=False)
    call.turns.ended(began_at + 1)
    if answered_after_s is not None:
        call.turns.audio(began_at + 1 + answered_after_s)
    return call


def test_a_window_counts_what_began_in_it() -> None:
    calls = [talked(99.0), talked(101.0), talked(105.0, None), talked(109.9, 2.0), talked(110.0, None)]
    figures = Window(BEGIN, END, calls, [], []).figures()
    assert (figures.turns, figures.unanswered) == (3, 1)
    assert figures.response_p50_ms == pytest.approx(1000)
    assert figures.response_p95_ms == pytest.approx(2000)


def test_cpu_is_told_per_minute_of_a_call() -> None:
    figures = Window(BEGIN, END, [talked(101.0), talked(102.0)], [], []).figures()
    assert figures.cpu_s_per_call_min == pytest.approx(4.0 / (2 * 10 / 60))
    assert figures.core_pct == pytest.approx(40)
    assert figures.others_on_core_pct == pytest.approx(10)
    assert figures.frames_dropped == 2


def test_of_several_processes_the_loop_that_lags_most_counts() -> None:
    lags = [[(101.0, 0.001)], [(101.0, 0.004)]]
    assert Window(BEGIN, END, [], lags, []).figures().loop_lag_p99_ms == pytest.approx(4)


def test_what_was_not_sampled_is_not_measured() -> None:
    figures = Window(BEGIN, END, [], [[]], []).figures()
    unknown = {name for name, value in dataclasses.asdict(figures).items() if value is None}
    assert {"loop_lag_p99_ms", "loop_lag_max_ms", "client_lag_p99_ms", "response_p50_ms", "barge_in_p95_ms"} <= unknown


def test_a_window_that_was_broken_off_knows_nothing_of_late_answers() -> None:
    figures = Window(BEGIN, END, [talked(109.0, None)], [], [], is_whole=False).figures()
    assert figures.unanswered is None
    assert figures.disobeyed is None


def test_underruns_count_when_they_happened_within_it() -> None:
    call = talked(101.0)
    call.playout.underruns += [99.9, 100.0, 105.0, 110.0]
    assert Window(BEGIN, END, [call], [], []).figures().underruns == 2


def test_the_stall_of_a_call_is_the_longest_between_its_webhook_and_its_first_audio() -> None:
    call = Call(0, "call-0", asked_at=10.0)
    samples = [(9.9, 0.5), (10.05, 0.03), (10.3, 0.08), (11.0, 0.9)]
    assert stall_of_ms(call, samples) is None
    assert greeting_ms(call) is None
    call.started_at, call.first_audio_at = 10.1, 10.4
    assert stall_of_ms(call, samples) == pytest.approx(80)
    assert greeting_ms(call) == pytest.approx(300)


def test_figures_can_be_told_as_json() -> None:
    told = Window(BEGIN, END, [talked(101.0)], [[(101.0, 0.00123456)]], []).figures().to_dict()
    assert told["loop_lag_p99_ms"] == 1.235
    assert set(told) == {field.name for field in dataclasses.fields(Figures)}
