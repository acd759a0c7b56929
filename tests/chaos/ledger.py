"""The ledger: offered = completed + refused by policy + dropped, by scene and in all; what is promised of it. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.caller import Caller, Verdict

UNKNOWN = -1  # of what was counted: nobody could say
GAP_PROMISED_MS = 1500.0
RESUMED_PROMISED = 0.99


@dataclass
class SceneResult:
    """One scene on one path, possibly played several times."""

    name: str
    path: str
    callers: list[Caller] = field(default_factory=list)
    drops_allowed: bool = False  # a carrier that never returns
    counts_gap: bool = False  # a worker was killed: the gap is promised
    reconnects: bool = True
    over_admitted: int = 0
    leaked_slots: int = 0
    drift: int = 0
    freed_s: float = 0.0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)  # promises of the scene's own that it broke
    notes: dict[str, Any] = field(default_factory=dict)
    is_skipped: str = ""

    def count(self, verdict: Verdict) -> int:
        return sum(caller.verdict is verdict for caller in self.callers)

    @property
    def offered(self) -> int:
        return len(self.callers)

    @property
    def resumed(self) -> int:
        return sum(caller.is_resumed is True for caller in self.callers)

    @property
    def fresh(self) -> int:
        return sum(caller.is_resumed is False for caller in self.callers)

    @property
    def gaps_ms(self) -> list[float]:
        return [gap for caller in self.callers if (gap := caller.gap_ms) is not None]

    @property
    def unexpected_drops(self) -> list[Caller]:
        return [
            caller
            for caller in self.callers
            if caller.verdict is Verdict.DROPPED and not (self.drops_allowed and caller.manner.may_be_lost)
        ]

    def add(self, other: "SceneResult") -> None:
        """The same scene, played again."""
        self.callers += other.callers
        self.over_admitted = max(self.over_admitted, other.over_admitted)
        self.leaked_slots = in_all(self.leaked_slots, other.leaked_slots)
        self.drift = UNKNOWN if UNKNOWN in (self.drift, other.drift) else max(self.drift, other.drift)
        self.freed_s = max(self.freed_s, other.freed_s)
        self.seconds = round(self.seconds + other.seconds, 1)
        self.broken += other.broken
        self.notes |= other.notes

    def to_dict(self) -> dict[str, Any]:
        return {
            "scene": self.name,
            "path": self.path,
            **({"skipped": self.is_skipped} if self.is_skipped else {}),
            "offered": self.offered,
            "completed": self.count(Verdict.COMPLETED),
            "refused": self.count(Verdict.REFUSED),
            "dropped": self.count(Verdict.DROPPED),
            "dropped_as_expected": self.count(Verdict.DROPPED) - len(self.unexpected_drops),
            "resumed": self.resumed,
            "fresh": self.fresh,
            "gap_p50_ms": percentile(self.gaps_ms, 50),
            "gap_p95_ms": percentile(self.gaps_ms, 95),
            "over_admitted": self.over_admitted,
            "leaked_slots": self.leaked_slots,
            "drift": self.drift,
            "slots_free_after_s": self.freed_s,
            "seconds": self.seconds,
            "broken": self.broken,
            **({"notes": self.notes} if self.notes else {}),
            "lost": [caller.to_dict() for caller in self.unexpected_drops],
        }


def in_all(*counts: int) -> int:
    """Their sum; unknown if one is."""
    return UNKNOWN if UNKNOWN in counts else sum(counts)


def percentile(values: Iterable[float], percent: float) -> float | None:
    """Nearest rank; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None


def total(scenes: Sequence[SceneResult], logs_found: Sequence[str], reconnect_after_ms: float) -> dict[str, Any]:
    """The whole run as one JSON object. A promise is kept (true), broken (false) or was not measured (null)."""
    played = [scene for scene in scenes if not scene.is_skipped]
    gaps = {
        path: [gap for scene in played if scene.counts_gap and scene.path == path for gap in scene.gaps_ms]
        for path in ("relayed", "direct")
    }
    counts = {verdict: sum(scene.count(verdict) for scene in played) for verdict in Verdict}
    resumed, fresh = sum(scene.resumed for scene in played), sum(scene.fresh for scene in played)
    figures = {
        "offered": sum(scene.offered for scene in played),
        **{str(verdict): count for verdict, count in counts.items()},
        "dropped_as_expected": counts[Verdict.DROPPED] - sum(len(scene.unexpected_drops) for scene in played),
        "resumed": resumed,
        "fresh": fresh,
        "gap_p50_ms": percentile([gap for some in gaps.values() for gap in some], 50),
        "gap_p95_ms": percentile([gap for some in gaps.values() for gap in some], 95),
        **{f"gap_p95_ms_{path}": percentile(some, 95) for path, some in gaps.items()},
        "over_admitted": max((scene.over_admitted for scene in played), default=0),
        "leaked_slots": in_all(*(scene.leaked_slots for scene in played)),
        "drift": in_all(*(scene.drift for scene in played)),
    }
    promises: dict[str, bool | None] = {
        "ledger_balances": figures["offered"] == sum(counts.values()),
        "none_dropped": not any(scene.unexpected_drops for scene in played),
        "resumed": resumed >= RESUMED_PROMISED * (resumed + fresh) if resumed + fresh else None,
        "gap_relayed": _is_kept(gaps["relayed"], GAP_PROMISED_MS),
        "gap_direct": _is_kept(gaps["direct"], GAP_PROMISED_MS + reconnect_after_ms),
        "never_over_admitted": figures["over_admitted"] == 0,
        "no_slot_leaked": figures["leaked_slots"] == 0,
        "no_drift": figures["drift"] == 0,
        "clean_logs": not logs_found,
        "scenes": not any(scene.broken for scene in played),
    }
    is_kept = False not in promises.values()
    return {**figures, "promises": promises, "kept": is_kept, "logs_found": list(logs_found)[:20]}


def _is_kept(gaps: Sequence[float], promised_ms: float) -> bool | None:
    worst = percentile(gaps, 95)
    return None if worst is None else worst <= promised_ms
