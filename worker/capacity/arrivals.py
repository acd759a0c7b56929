"""What the coming of calls cost the others, and how soon each new caller heard something."""

from typing import Any

from worker.capacity.figures import middle, percentile, rounded
from worker.capacity.trial import Trial


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
