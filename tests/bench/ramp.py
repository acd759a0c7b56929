"""The knee of one subject: one call, a ramp of one call a second until something breaks, holds that confirm.

The ramp only guesses: what a call's own arrival does to the others is left out of it as far as it can be, or a subject
that stands still at every arrival would seem to carry none. Holds are judged by everything.
"""

import time
from collections.abc import Callable
from typing import Any

from tests.bench.figures import Figures, middle, ms, percentile
from tests.bench.hold import arrivals
from tests.bench.knee import KneeSearch
from tests.bench.load import Load
from tests.bench.loop_lag import Sample, spread_out
from tests.bench.slo import LIMITS, broken, disturbances
from tests.bench.subjects import MAKERS, Cores
from tests.bench.trial import LATE_ANSWERS_S, SETTLE_S, Trial

ONE_CALL_S = 10.0  # the greeting, and the beginnings of both turns of a round
HOLD_S = 20.0
LOOK_BACK_S = 3.0
TURNS_BACK_S = 10.0  # turns that began before the last `LATE_ANSWERS_S`, and since this
BAD_LOOKS = 2  # in a row
FEW_TURNS = 4  # of which a median says little
NOT_YET_TALKING = 4  # of the calls that have come last: callers listen to the greeting first
ARRIVAL_S = 1.5  # at most, from a webhook on

Say = Callable[[str], None]


async def find_knee(name: str, cores: Cores, most: int, until: float, say: Say) -> dict[str, Any]:
    """One round. `until` is a moment of the monotonic clock: no hold begins that would end after it."""
    say(f"{name}: starting")
    async with MAKERS[name](cores) as subject:
        with Load(subject.target) as load:
            trial = Trial(subject, load)
            trial.add_calls(1)
            one = trial.measure(ONE_CALL_S)
            say(f"{name}: 1 call: {told(one)}")
            broke_at, why = climb(trial, one.response_p50_ms, most)
            say(f"{name}: the ramp broke at {broke_at}: {why}" if why else f"{name}: the ramp reached {broke_at}")
            search = KneeSearch(broke_at - NOT_YET_TALKING if why else broke_at, most)
            holds = confirm(name, trial, search, one.response_p50_ms, until, say)
            kept = {hold["calls"]: hold for hold in holds if not hold["broken"]}
            failed = [hold for hold in holds if hold["broken"]]
            best = kept.get(search.passed) if search.passed else None
            grown_mb = best["rss_mb"] - one.rss_mb if best and best["calls"] > 1 else None
            return {
                "knee": search.passed,
                "is_open": search.is_open,
                "limited_by": min(failed, key=lambda hold: hold["calls"])["broken"] if failed else [],
                "ramp_broke_at": broke_at if why else None,
                "one_call": one.to_dict(),
                "at_knee": best,
                "holds": holds,
                "goes_first": subject.goes_first,
                **arrivals(trial, grown_mb, best["calls"] if best else 0),
            }


def climb(trial: Trial, response_of_one_ms: float | None, most: int) -> tuple[int, str]:
    """One call a second; with how many calls something broke, and what. Nothing broke up to `most`: no reason."""
    bad_since, first_why, looks = 0, "", 0
    while len(trial.live) < most:
        trial.add_calls(1)
        why = look(trial, response_of_one_ms)
        if not why:
            looks = 0
            continue
        if not looks:
            bad_since, first_why = len(trial.live), why
        looks += 1
        if looks == BAD_LOOKS:
            return bad_since, first_why
    return most, ""


def look(trial: Trial, response_of_one_ms: float | None) -> str:
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
    if len(turns) > FEW_TURNS and response_ms and response_of_one_ms and response_ms > response_of_one_ms + slack_ms:
        return f"response p50 {response_ms:.0f} ms"
    if any(turn.is_obeyed is False for turn in turns):
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
    name: str, trial: Trial, search: KneeSearch, response_of_one_ms: float | None, until: float, say: Say
) -> list[dict[str, Any]]:
    """Hold where the search says, while there is time."""
    holds: list[dict[str, Any]] = []
    has_repeated = False
    while (calls := search.next()) is not None:
        change_s = max(0, calls - len(trial.live)) + SETTLE_S
        if time.monotonic() + change_s + HOLD_S + LATE_ANSWERS_S > until:
            say(f"{name}: no time for {calls} calls")
            break
        trial.have_calls(calls)
        figures = trial.measure(HOLD_S, gives_up=True)
        found, disturbed = broken(figures, response_of_one_ms), disturbances(figures)
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
