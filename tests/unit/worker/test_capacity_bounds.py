"""A search for a knee spends no more than it may: calls at once, minutes of calls, time."""

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from worker.capacity.figures import Counters, Figures, Window
from worker.capacity.ramp import HOLD_S, Effort, climb, find_knee
from worker.capacity.trial import LATE_ANSWERS_S, SETTLE_S, Trial

_NOW = Counters(at=0.0, cpu_s=0.0, rss_mb=100.0, core_idle_s=0.0, dropped=0)
GOOD = replace(
    Window(_NOW, replace(_NOW, at=20.0, core_idle_s=20.0), [], [[]], []).figures(),
    **dict.fromkeys(("loop_lag_p99_ms", "barge_in_p95_ms", "response_p50_ms"), 1.0),
    **dict.fromkeys(("client_lag_p99_ms", "client_lag_max_ms"), 1.0),
)
ONE_HOLD_S = SETTLE_S + HOLD_S + LATE_ANSWERS_S


class Tireless:
    """A subject that carries whatever comes; its seconds pass at once."""

    failures: tuple[str, ...] = ()
    calls: tuple[Any, ...] = ()

    def __init__(self) -> None:
        self.live: list[Any] = []
        self.call_s = 0.0

    def wait(self, seconds: float) -> None:
        self.call_s += seconds * len(self.live)

    def add_calls(self, count: int, per_s: float = 1.0) -> None:
        for _ in range(count):
            self.live.append(SimpleNamespace(playout=SimpleNamespace(underruns=[]), turns=SimpleNamespace(all=[])))
            self.wait(1 / per_s)

    def have_calls(self, count: int, per_s: float = 1.0) -> None:
        del self.live[count:]
        self.add_calls(count - len(self.live))
        self.wait(SETTLE_S)

    def measure(self, seconds: float, *, gives_up: bool = False) -> Figures:
        self.wait(seconds + LATE_ANSWERS_S)
        return replace(GOOD, calls=len(self.live))

    def lags(self, begin: float, end: float) -> list[list[tuple[float, float]]]:
        return [[(end, 0.001)]]

    def stalls_ms(self) -> list[float | None]:
        return [1.0]

    greetings_ms = stalls_ms


def search(tireless: Tireless, **bounds: Any) -> dict[str, Any]:
    effort = Effort(until=time.monotonic() + bounds.pop("within", 3600), most=bounds.pop("most", 60), **bounds)
    return find_knee("tireless", cast(Trial, tireless), effort, lambda line: None)


def test_it_places_no_more_calls_than_it_may() -> None:
    tireless = Tireless()
    found = search(tireless, most=7)
    assert (found["knee"], found["is_open"], len(tireless.live)) == (7, True, 7)


def test_all_calls_together_last_no_longer_than_they_may() -> None:
    tireless = Tireless()
    found = search(tireless, call_s=15 * 60)
    assert tireless.call_s <= 15 * 60
    assert found["knee"] >= 10
    assert found["is_open"]


def test_a_hold_that_would_end_too_late_is_not_begun() -> None:
    found = search(Tireless(), within=ONE_HOLD_S - 1, most=5)
    assert (found["knee"], found["holds"]) == (None, [])


def test_calls_far_below_the_knee_come_faster() -> None:
    slow, fast = Tireless(), Tireless()
    climb(cast(Trial, slow), None, Effort(until=0, most=30))
    climb(cast(Trial, fast), None, Effort(until=0, most=30, surely=24))
    assert len(slow.live) == len(fast.live) == 30
    assert fast.call_s < slow.call_s
