"""Figures of one subject with a fixed number of calls, in a fresh process: nothing of an earlier load is left in it."""

from collections.abc import Callable
from typing import Any

from tests.bench.figures import middle, percentile, rounded
from tests.bench.load import Load
from tests.bench.slo import disturbances
from tests.bench.subjects import MAKERS, Cores
from tests.bench.trial import Trial

FIRST_CALL_S = 6.0  # alone: its greeting, and what only a process' first call brings
PER_S = 2.0  # new calls
ECHO_PER_S = 4.0  # which has nothing to build for one


async def hold(name: str, cores: Cores, calls: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Start the subject, bring the calls up, measure."""
    say(f"{name}: starting")
    async with MAKERS[name](cores) as subject:
        with Load(subject.target) as load:
            trial = Trial(subject, load)
            trial.add_calls(1)
            trial.wait(FIRST_CALL_S)
            first_rss_mb = trial.count().rss_mb
            say(f"{name}: {calls} calls are coming")
            trial.have_calls(calls, ECHO_PER_S if name == "echo" else PER_S)
            say(f"{name}: measuring for {seconds:g} s")
            figures = trial.measure(seconds)
            told = {**figures.to_dict(), "disturbed": disturbances(figures), "goes_first": subject.goes_first}
            return {**told, **arrivals(trial, figures.rss_mb - first_rss_mb, figures.calls)}


def arrivals(trial: Trial, grown_mb: float | None, calls: int) -> dict[str, Any]:
    """What the coming of the first so many calls cost; the first call of the process apart."""
    first_stall, *stalls = trial.stalls_ms()[: max(1, calls)]
    first_greeting, *greetings = trial.greetings_ms()[: max(1, calls)]
    known = [value for value in greetings if value is not None]
    told = {
        "rss_per_call_mb": grown_mb / (calls - 1) if grown_mb is not None and calls > 1 else None,
        "first_audio_first_call_ms": first_greeting,
        "first_audio_p50_ms": percentile(known, 50),
        "first_audio_p95_ms": percentile(known, 95),
        "stall_first_call_ms": first_stall,
        "stall_per_call_ms": middle(stalls),
        "stall_per_call_max_ms": max((value for value in stalls if value is not None), default=None),
    }
    return {name: rounded(value) for name, value in told.items()} | {"failures": sorted(set(trial.failures))}
