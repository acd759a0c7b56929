"""Figures of one subject with a fixed number of calls, in a fresh process: nothing of an earlier load is left in it."""

from collections.abc import Callable
from typing import Any

from shared.carrier.load.client import Load
from tests.bench.subjects import MAKERS, Cores
from worker.capacity.arrivals import arrivals
from worker.capacity.slo import disturbances
from worker.capacity.trial import LATE_ANSWERS_S, SETTLE_S, Trial

START_S = 10.0  # of a subject, and its end
FIRST_CALL_S = 6.0  # alone: its greeting, and what only a process' first call brings
PER_S = 2.0  # new calls
ECHO_PER_S = 8.0  # which has nothing to build for one


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


def takes_s(name: str, calls: int, seconds: float) -> float:
    """How long such a measurement takes, the start and end of the subject included."""
    coming_s = calls / (ECHO_PER_S if name == "echo" else PER_S)
    return START_S + FIRST_CALL_S + coming_s + SETTLE_S + seconds + LATE_ANSWERS_S
