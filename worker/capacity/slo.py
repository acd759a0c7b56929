"""What a core has to keep to for its calls to count: one judgement for every subject. Pure.

What was not measured was not kept: nothing passes for want of figures.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from worker.capacity.figures import Figures


@dataclass(frozen=True, slots=True)
class Limits:
    """In ms. Beside them: no underrun, no interruption disobeyed, no turn unanswered, no call lost."""

    loop_lag_p99_ms: float = 20.0
    barge_in_p95_ms: float = 500.0
    response_above_one_call_ms: float = 100.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


LIMITS = Limits()
LOOP_LAG, RESPONSE, BARGE_IN = "loop lag p99", "response p50", "barge-in p95"
DISOBEYED, UNANSWERED = "interruptions disobeyed", "turns unanswered"
MANNERS = frozenset({RESPONSE, BARGE_IN, DISOBEYED, UNANSWERED})  # a bot may be made without them
NOT_MEASURED = "not measured"

# Beyond these a measurement is not of the subject alone: the client was late, or others had the subject's core.
CLIENT_LAG_P99_MS, CLIENT_LAG_MAX_MS, OTHERS_PCT = 5.0, 40.0, 15.0


def broken(
    figures: Figures,
    response_of_one_ms: float | None,
    limits: Limits = LIMITS,
    apart: Collection[str] = (),
) -> list[str]:
    """What was not kept, in words; nothing if all was. `response_of_one_ms`: the median with one call."""
    found = {name: told for name, told in judged(figures, response_of_one_ms, limits).items() if name not in apart}
    known = [told for told in found.values() if NOT_MEASURED not in told]
    return known or list(found.values())


def judged(figures: Figures, response_of_one_ms: float | None, limits: Limits = LIMITS) -> dict[str, str]:
    """Each objective that was not kept, by its name, in words."""
    found = {}
    for name, value, limit in (
        (LOOP_LAG, figures.loop_lag_p99_ms, limits.loop_lag_p99_ms),
        (BARGE_IN, figures.barge_in_p95_ms, limits.barge_in_p95_ms),
        (RESPONSE, figures.response_p50_ms, _response_limit(response_of_one_ms, limits)),
    ):
        if value is None or limit is None:
            found[name] = f"{name} {NOT_MEASURED}"
        elif value > limit or (name == LOOP_LAG and value == limit):
            found[name] = f"{name} {value:.0f} ms (limit {limit:.0f})"
    for name, count in (
        ("underruns", figures.underruns),
        (DISOBEYED, figures.disobeyed),
        (UNANSWERED, figures.unanswered),
        ("calls lost", figures.calls_lost),
    ):
        if count is None:
            found[name] = f"{name} {NOT_MEASURED}"
        elif count:
            found[name] = f"{name}: {count}"
    return found


def disturbances(figures: Figures) -> list[str]:
    """Why this measurement should not be believed, if there is a reason."""
    found = []
    if figures.client_lag_p99_ms is None or figures.client_lag_max_ms is None:
        found.append("the client sent nothing")
    elif figures.client_lag_p99_ms > CLIENT_LAG_P99_MS or figures.client_lag_max_ms > CLIENT_LAG_MAX_MS:
        found.append(f"client late: p99 {figures.client_lag_p99_ms:.0f}, max {figures.client_lag_max_ms:.0f} ms")
    if figures.others_on_core_pct > OTHERS_PCT:
        found.append(f"others had {figures.others_on_core_pct:.0f} % of the core")
    return found


def _response_limit(response_of_one_ms: float | None, limits: Limits) -> float | None:
    return None if response_of_one_ms is None else response_of_one_ms + limits.response_above_one_call_ms
