"""The knee: one call, a ramp until something breaks, holds that confirm.

The ramp only guesses: what a call's own arrival does to the others is left out of it as far as it can be, or a subject
that stands still at every arrival would seem to carry none. Holds are judged by everything.
"""

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from worker.capacity.arrivals import arrivals
from worker.capacity.figures import Figures, middle, ms, percentile
from worker.capacity.knee import FINE, KneeSearch
from worker.capacity.loop_lag import Sample, spread_out
from worker.capacity.slo import DISOBEYED, LIMITS, MANNERS, RESPONSE, broken, disturbances, judged
from worker.capacity.trial import LATE_ANSWERS_S, SETTLE_S, Trial

ONE_CALL_S = 45.0  # the greeting, and seven turns: the median of one or two is that of a sentence, not of a subject
HOLD_S = 20.0
SURELY_PER_S = 3.0
FIRST_SHARE = 0.6  # of the time that calls may last: for the ramp and a first hold
LOOK_BACK_S = 3.0
TURNS_BACK_S = 10.0  # turns that began before the last `LATE_ANSWERS_S`, and since this
BAD_LOOKS = 2  # in a row
FEW_TURNS = 4  # of which a median says little
NOT_YET_TALKING = 4  # of the calls that have come last: callers listen to the greeting first
ARRIVAL_S = 1.5  # at most, from a webhook on

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Effort:
    """How far a search goes. `until` is a moment of the monotonic clock: no hold begins that would end after it."""

    until: float
    most: int  # calls at which the ramp ends
    surely: int = 0  # so many come three a second: the knee is known to be higher
    one_call_s: float = ONE_CALL_S  # for what is measured with one call
    response_of_one_ms: float | None = None  # known from an earlier round
    fineness: int = FINE
    call_s: float = math.inf  # all calls together: real providers are paid by the minute
    is_relative: bool = False  # manners that one call does not have either are not judged


def find_knee(name: str, trial: Trial, effort: Effort, say: Say) -> dict[str, Any]:
    """One round, of a subject that has no calls yet."""
    trial.add_calls(1)
    one = trial.measure(effort.one_call_s)
    say(f"{name}: 1 call: {told(one)}")
    response_of_one_ms = effort.response_of_one_ms or one.response_p50_ms
    apart = judged(one, response_of_one_ms).keys() & MANNERS if effort.is_relative else set()
    if apart:
        say(f"{name}: not judged, as one call does not keep to it either: {', '.join(sorted(apart))}")
    broke_at, why = climb(trial, response_of_one_ms, effort, apart)
    say(f"{name}: the ramp broke at {broke_at}: {why}" if why else f"{name}: the ramp reached {broke_at}")
    guess = broke_at - NOT_YET_TALKING if why else broke_at
    search = KneeSearch(guess, effort.most, broke_at if why else None, effort.fineness)
    holds = confirm(name, trial, search, response_of_one_ms, effort, say, apart)
    kept = {hold["calls"]: hold for hold in holds if not hold["broken"]}
    failed = [hold for hold in holds if hold["broken"]]
    best = kept.get(search.passed) if search.passed else None
    grown_mb = best["rss_mb"] - one.rss_mb if best and best["calls"] > 1 else None
    return {
        "knee": search.passed,
        "broke_with": search.failed,
        "is_open": search.is_open,
        "limited_by": min(failed, key=lambda hold: hold["calls"])["broken"] if failed else [],
        "ramp_broke_at": broke_at if why else None,
        "one_call": {**one.to_dict(), "disturbed": disturbances(one)},
        "response_of_one_ms": response_of_one_ms,
        "at_knee": best,
        "holds": holds,
        **arrivals(trial, grown_mb, best["calls"] if best else 0),
    }


def climb(
    trial: Trial, response_of_one_ms: float | None, effort: Effort, apart: Collection[str] = ()
) -> tuple[int, str]:
    """One call a second; with how many calls something broke, and what. Nothing broke: no reason."""
    bad_since, first_why, looks = 0, "", 0
    trial.add_calls(min(effort.surely, effort.most) - len(trial.live), SURELY_PER_S)
    while len(trial.live) < effort.most and _may_grow(trial, effort):
        trial.add_calls(1)
        why = look(trial, response_of_one_ms, apart)
        if not why:
            looks = 0
            continue
        if not looks:
            bad_since, first_why = len(trial.live), why
        looks += 1
        if looks == BAD_LOOKS:
            return bad_since, first_why
    return len(trial.live), ""


def _may_grow(trial: Trial, effort: Effort) -> bool:
    """Whether one more call, and a hold with it, fit into what calls may last together."""
    hold_s = (SETTLE_S + HOLD_S + LATE_ANSWERS_S) * (len(trial.live) + 1)
    return trial.call_s + hold_s <= FIRST_SHARE * effort.call_s


def look(trial: Trial, response_of_one_ms: float | None, apart: Collection[str] = ()) -> str:
    """What is bad at this moment of the ramp, if anything."""
    now = time.monotonic()
    if trial.failures:
        return trial.failures[-1]
    recent = [call for call in trial.calls if call.asked_at > now - LOOK_BACK_S - ARRIVAL_S]
    arrivals_at = [(call.asked_at, min(call.first_audio_at or now, call.asked_at + ARRIVAL_S)) for call in recent]
    for samples in trial.lags(now - LOOK_BACK_S, now):
        quiet = ms(spread_out(outside(samples, arrivals_at)))
        lag_ms = percentile(quiet, 99)
        if lag_ms is None or lag_ms >= LIMITS.loop_lag_p99_ms:
            return "no moment without a standstill" if lag_ms is None else f"loop lag p99 {lag_ms:.0f} ms"
    late = [at for call in trial.live for at in call.playout.underruns if at > now - LOOK_BACK_S]
    if outside([(at, 0.0) for at in late], arrivals_at):
        return "underruns"
    begin, end = now - TURNS_BACK_S, now - LATE_ANSWERS_S
    turns = [turn for call in trial.live for turn in call.turns.all if begin <= turn.began_at < end]
    response_ms = middle(ms(turn.response_s for turn in turns))
    slack_ms = 2 * LIMITS.response_above_one_call_ms  # of few turns: holds decide
    is_slow = response_ms and response_of_one_ms and response_ms > response_of_one_ms + slack_ms
    if RESPONSE not in apart and len(turns) > FEW_TURNS and is_slow:
        return f"response p50 {response_ms:.0f} ms"
    if DISOBEYED not in apart and any(turn.is_obeyed is False for turn in turns):
        return "an interruption was not obeyed"
    return ""


def outside(samples: list[Sample], stretches: list[tuple[float, float]]) -> list[Sample]:
    """Samples that are in none of these stretches of time, nor of a standstill that began in one."""
    return [
        (at, late)
        for at, late in samples
        if not any(begin <= at and at - late <= end + 0.1 for begin, end in stretches)
    ]


def confirm(
    name: str,
    trial: Trial,
    search: KneeSearch,
    response_of_one_ms: float | None,
    effort: Effort,
    say: Say,
    apart: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Hold where the search says, while there is time."""
    holds: list[dict[str, Any]] = []
    has_repeated = False
    while (calls := search.next()) is not None:
        change_s = max(0, calls - len(trial.live)) + SETTLE_S
        hold_s = change_s + HOLD_S + LATE_ANSWERS_S
        if time.monotonic() + hold_s > effort.until:
            say(f"{name}: no time for {calls} calls")
            break
        if trial.call_s + hold_s * calls > effort.call_s:
            say(f"{name}: {calls} calls would last longer than the {effort.call_s / 60:g} minutes that are allowed")
            break
        trial.have_calls(calls)
        figures = trial.measure(HOLD_S, gives_up=True)
        found, disturbed = broken(figures, response_of_one_ms, apart=apart), disturbances(figures)
        found += [f"only {figures.calls} calls were up"] if figures.calls < calls else []
        verdict = f"broken: {', '.join(found)}" if found else "kept"
        said = f"{name}: {calls} call{'s' * (calls > 1)} {verdict}: {told(figures)}"
        say(f"{said}{' (disturbed: ' + ', '.join(disturbed) + ')' if disturbed else ''}")
        if found and disturbed and not has_repeated:
            has_repeated = True  # once: perhaps it was not the subject
            continue
        search.held(calls, is_kept=not found)
        holds.append({**figures.to_dict(), "broken": found, "disturbed": disturbed})
    return holds


def told(figures: Figures) -> str:
    """A measurement in one line."""
    return (
        f"lag p99 {_ms(figures.loop_lag_p99_ms)}, response {_ms(figures.response_p50_ms)}, barge-in p95 "
        f"{_ms(figures.barge_in_p95_ms)}, underruns {figures.underruns}, CPU {figures.cpu_s_per_call_min:.2f} s per "
        f"call-minute ({figures.core_pct:.0f} %), client lag p99 {_ms(figures.client_lag_p99_ms)}"
    )


def _ms(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.0f} ms"
