"""Recording rules: what several alerts and people ask for, computed once. Named level:metric:operation."""

from dataclasses import dataclass

from deploy.monitoring.promql import Clock, quantile, series, total
from shared.telemetry.catalogue import (
    ACTIVE_CALLS,
    BARGE_IN_SECONDS,
    CAPACITY,
    FIRST_AUDIO_SECONDS,
    LOOP_LAG_SECONDS,
    OFFERED_CALLS,
    REGISTRY_SECONDS,
    TURN_SECONDS,
    WEBHOOK_SECONDS,
)

# Worker by worker: what a draining one still has takes no room from the others.
ROOM = total(f"clamp_min({series(OFFERED_CALLS)} - {series(ACTIVE_CALLS)}, 0)")


@dataclass(frozen=True, slots=True)
class Recording:
    """A series that Prometheus computes."""

    name: str
    expression: str


def recordings(clock: Clock) -> list[Recording]:
    """All of them, with windows by this clock."""
    short, long = clock(300), clock(900)
    active, capacity = total(series(ACTIVE_CALLS)), total(series(CAPACITY))
    return [
        Recording("fleet:calls:sum", active),
        Recording("fleet:capacity:sum", capacity),
        Recording("fleet:room:ratio", f"{ROOM} / ({capacity} > 0)"),
        Recording("fleet:first_audio_seconds:p95", quantile(0.95, FIRST_AUDIO_SECONDS, long)),
        Recording("fleet:turn_seconds:p95", quantile(0.95, TURN_SECONDS, long, stage="total")),
        Recording("fleet:barge_in_seconds:p95", quantile(0.95, BARGE_IN_SECONDS, long)),
        Recording("fleet:webhook_seconds:p99", quantile(0.99, WEBHOOK_SECONDS, short)),
        Recording("component:registry_seconds:p99", quantile(0.99, REGISTRY_SECONDS, short, "component")),
        Recording(
            "process:loop_lag_seconds:p99", quantile(0.99, LOOP_LAG_SECONDS, short, "component", "process", "instance")
        ),
    ]
