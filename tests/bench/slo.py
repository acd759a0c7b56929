"""What a core has to keep to for its calls to count: one judgement for every subject. Pure.

What was not measured was not kept: nothing passes for want of figures.
"""

from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.figures import Figures


@dataclass(frozen=True, slots=True)
class Limits:
    """In ms. Beside them: no underrun, no interruption disobeyed, no turn unanswered, no call lost."""

    loop_lag_p99_ms: float = 20.0
    barge_in_p95_ms: float = 500.0
    response_above_one_call_ms: float = 100.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


LIMITS = Limits()

# Beyond these a measurement is not of the subject alone: the client was late, or others had the subject's core.
CLIENT_LAG_P99_MS, CLIENT_LAG_MAX_MS, OTHERS_PCT = 5.0, 40.0, 15.0


def broken(figures: Figures, response_of_one_ms: float | None, limits: Limits = LIMITS) -> list[str]:
    """What was not kept, in words; nothing if all was. `response_of_one_ms`: the median with one call."""
    found, unknown = [], []
    for name, value, limit in (
        ("loop lag p99", figures.loop_lag_p99_ms, limits.loop_lag_p99_ms),
        ("barge-in p95", figures.barge_in_p95_ms, limits.barge_in_p95_ms),
        ("response p50", figures.response_p50_ms, _response_limit(response_of_one_ms, limits)),
    ):
        if value is None or limit is None:
            unknown.append(f"{name} not measured")
        elif value > limit or (name == "loop lag p99" and value == limit):
            found.append(f"{name} {value:.0f} ms (limit {limit:.0f})")
    for name, count in (
        ("underruns", figures.underruns),
        ("interruptions disobeyed", figures.disobeyed),
        ("turns unanswered", figures.unanswered),
        ("calls lost", figures.calls_lost),
    ):
        if count is None:
            unknown.append(f"{name} not measured")
        elif count:
            found.append(f"{name}: {count}")
    return found or unknown


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
