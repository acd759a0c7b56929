"""What a stretch of time with N calls came to. Pure: samples, calls and counters in, figures out.

What was not measured is None, never zero.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from shared.carrier.load.call import Call
from worker.capacity.loop_lag import Sample, spread_out

STALL_BEFORE_S = 0.02  # of a new call: a sample is of the moment when a standstill ended


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters at one moment of a monotonic clock."""

    at: float
    cpu_s: float
    rss_mb: float
    core_idle_s: float
    dropped: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Times in ms, memory in MB. Those of the client (`client_…`, `others_on_core_pct`) say whether to believe it."""

    calls: int
    seconds: float
    loop_lag_p50_ms: float | None
    loop_lag_p99_ms: float | None
    loop_lag_max_ms: float | None
    loop_lag_p99_of_wakes_ms: float | None
    cpu_s_per_call_min: float
    core_pct: float
    rss_mb: float
    turns: int
    unanswered: int | None
    premature: int
    response_p50_ms: float | None
    response_p95_ms: float | None
    interruptions: int
    disobeyed: int | None
    cleared_late: int
    barge_in_p50_ms: float | None
    barge_in_p95_ms: float | None
    underruns: int
    calls_lost: int
    client_lag_p99_ms: float | None
    client_lag_max_ms: float | None
    frames_dropped: int
    others_on_core_pct: float

    def to_dict(self) -> dict[str, Any]:
        return {name: rounded(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Window:
    """Everything that was recorded of a stretch of time."""

    begin: Counters
    end: Counters
    calls: Sequence[Call]  # those that were up
    lags: Sequence[Sequence[Sample]]  # per process; the worst of them counts
    client_lags: Sequence[Sample]
    is_whole: bool = True  # else it was broken off, and nobody waited for late answers

    def figures(self) -> Figures:
        """Turns that began within it count; look some seconds after its end, or their answers are not there yet."""
        begin, end = self.begin.at, self.end.at
        seconds = end - begin
        turns = [turn for call in self.calls for turn in call.turns.all if begin <= turn.began_at < end]
        responses = ms(turn.response_s for turn in turns)
        clears = ms(turn.clear_s for turn in turns)
        obeyed = [turn.is_obeyed for turn in turns if turn.is_obeyed is not None]
        spread = [ms(spread_out(samples)) for samples in self.lags]
        wakes = [ms(late for _, late in samples) for samples in self.lags]
        client = ms(late for _, late in self.client_lags)
        cpu_s = self.end.cpu_s - self.begin.cpu_s
        busy_s = seconds - (self.end.core_idle_s - self.begin.core_idle_s)
        return Figures(
            calls=len(self.calls),
            seconds=seconds,
            loop_lag_p50_ms=worst(percentile(late, 50) for late in spread),
            loop_lag_p99_ms=worst(percentile(late, 99) for late in spread),
            loop_lag_max_ms=worst(max(late, default=None) for late in spread),
            loop_lag_p99_of_wakes_ms=worst(percentile(late, 99) for late in wakes),
            cpu_s_per_call_min=cpu_s / (max(1, len(self.calls)) * seconds / 60),
            core_pct=cpu_s / seconds * 100,
            rss_mb=self.end.rss_mb,
            turns=len(turns),
            unanswered=sum(turn.answered_at is None for turn in turns) if self.is_whole else None,
            premature=sum(turn.is_premature for turn in turns),
            response_p50_ms=percentile(responses, 50),
            response_p95_ms=percentile(responses, 95),
            interruptions=len(obeyed),
            disobeyed=obeyed.count(False) if self.is_whole else None,
            cleared_late=sum(turn.sent_after_clear > 0 for turn in turns),
            barge_in_p50_ms=percentile(clears, 50),
            barge_in_p95_ms=percentile(clears, 95),
            underruns=sum(begin <= at < end for call in self.calls for at in call.playout.underruns),
            calls_lost=sum(bool(call.failure) for call in self.calls),
            client_lag_p99_ms=percentile(client, 99),
            client_lag_max_ms=max(client, default=None),
            frames_dropped=self.end.dropped - self.begin.dropped,
            others_on_core_pct=max(0.0, busy_s - cpu_s) / seconds * 100,
        )


def stall_of_ms(call: Call, samples: Sequence[Sample]) -> float | None:
    """The longest standstill between a call's webhook and the first audio: what its coming costs the others."""
    if call.first_audio_at is None:
        return None
    begin, end = call.asked_at, call.first_audio_at + STALL_BEFORE_S
    return max((late * 1000 for at, late in samples if begin <= at < end), default=None)


def greeting_ms(call: Call) -> float | None:
    """From `start` to the first audio."""
    if call.first_audio_at is None or call.started_at is None:
        return None
    return (call.first_audio_at - call.started_at) * 1000


def ms(seconds: Iterable[float | None]) -> list[float]:
    """Those that there are, in ms."""
    return [value * 1000 for value in seconds if value is not None]


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The smallest value that so many percent of all do not exceed; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def worst(values: Iterable[float | None]) -> float | None:
    """The largest of those that were measured."""
    return max((value for value in values if value is not None), default=None)


def middle(values: Iterable[float | None]) -> float | None:
    """The median of those that were measured."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def rounded(value: Any) -> Any:
    """As many digits as mean something."""
    if not isinstance(value, float):
        return value
    return round(value, 3 if abs(value) < 10 else 1)
