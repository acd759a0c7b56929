"""The ledger: offered = completed + refused by policy + convicted + dropped, by scene and in all. Pure.

What was not measured is None: neither 0 nor kept.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.sfvopi.closing import CloseCode
from tests.chaos.caller import Caller, Verdict

GAP_PROMISED_MS = 1500.0
RESUMED_PROMISED = 0.99
CANNOT_GO_ON = (CloseCode.INTERNAL, CloseCode.RESTART)


@dataclass
class SceneResult:
    """One scene on one path, possibly played several times."""

    name: str
    path: str
    callers: list[Caller] = field(default_factory=list)
    drops_allowed: bool = False  # a carrier that never returns
    counts_gap: bool = False  # a worker was killed: the gap is promised
    reconnects: bool = True
    over_admitted: int | None = None  # None: nobody knows
    leaked_slots: int | None = None
    drift: int | None = None
    freed_s: float = 0.0
    seconds: float = 0.0
    disagreements: list[str] = field(default_factory=list)  # of records and what their callers heard
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
    def hit(self) -> list[Caller]:
        """Those who lost their session, and were not let go by their carrier."""
        return [caller for caller in self.callers if caller.fault_at_ms and not self.may_be_lost(caller)]

    @property
    def gaps_ms(self) -> list[float]:
        return [gap for caller in self.callers if (gap := caller.gap_ms) is not None]

    @property
    def unheard(self) -> int:
        """Those who lost their session and heard nothing of another one."""
        return sum(caller.gap_ms is None for caller in self.hit)

    def may_be_lost(self, caller: Caller) -> bool:
        return self.drops_allowed and caller.manner.may_be_lost

    @property
    def unexpected_drops(self) -> list[Caller]:
        return [caller for caller in self.callers if caller.verdict is Verdict.DROPPED and not self.may_be_lost(caller)]

    def add(self, other: "SceneResult") -> None:
        """The same scene, played again."""
        is_first = not self.callers
        self.callers += other.callers
        for name, together in (("over_admitted", max), ("leaked_slots", sum), ("drift", max)):
            mine, theirs = getattr(self, name), getattr(other, name)
            known = theirs if is_first else measured([mine, theirs], together)
            setattr(self, name, known)
        self.freed_s = max(self.freed_s, other.freed_s)
        self.seconds = round(self.seconds + other.seconds, 1)
        self.broken += other.broken
        self.disagreements += other.disagreements
        self.notes |= other.notes

    def to_dict(self) -> dict[str, Any]:
        return {
            "scene": self.name,
            "path": self.path,
            **({"skipped": self.is_skipped} if self.is_skipped else {}),
            "offered": self.offered,
            "completed": self.count(Verdict.COMPLETED),
            "refused": self.count(Verdict.REFUSED),
            "convicted": self.count(Verdict.CONVICTED),
            "dropped": self.count(Verdict.DROPPED),
            "dropped_as_expected": self.count(Verdict.DROPPED) - len(self.unexpected_drops),
            "hit": len(self.hit),
            "resumed": self.resumed,
            "fresh": self.fresh,
            "unheard": self.unheard,
            "gap_p50_ms": percentile(self.gaps_ms, 50),
            "gap_p95_ms": percentile(self.gaps_ms, 95),
            "over_admitted": self.over_admitted,
            "leaked_slots": self.leaked_slots,
            "drift": self.drift,
            "slots_free_after_s": self.freed_s,
            "seconds": self.seconds,
            "broken": self.broken,
            "disagreements": self.disagreements,
            **({"notes": self.notes} if self.notes else {}),
            "lost": [caller.to_dict() for caller in self.unexpected_drops],
        }


def disagreement(caller: Caller, record: Mapping[str, Any]) -> str:
    """What a call's record says against what its caller heard; empty if they agree. A call may not have ended yet."""
    says, verdict = str(record.get("result") or ""), caller.verdict
    allowed = {
        Verdict.COMPLETED: {"", "completed"},
        Verdict.REFUSED: {"", "refused"},
        Verdict.CONVICTED: {"failed"},
        Verdict.DROPPED: {"", "failed", "unanswered"} if is_cut_by_us(caller) else {says},
    }[verdict]
    is_right = says in allowed and (verdict is not Verdict.CONVICTED or record.get("reason") == "poisonous")
    return (
        "" if is_right else f"{caller.call_id}: {verdict} to its caller, {says}: {record.get('reason')} in its record"
    )


def is_cut_by_us(caller: Caller) -> bool:
    """Whether the last that the carrier heard of us was that we cannot go on, or cannot begin."""
    report = caller.report
    return report.close_code in CANNOT_GO_ON or (report.upgrade_status or 0) >= 500


def percentile(values: Iterable[float], percent: float) -> float | None:
    """Nearest rank; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None


def measured(values: Sequence[int | None], together: Callable[[list[int]], int]) -> int | None:
    """All of them together; None if there are none, or one of them is not known."""
    known = [value for value in values if value is not None]
    return together(known) if known and len(known) == len(values) else None


def total(scenes: Sequence[SceneResult], logs_found: Sequence[str], reconnect_after_ms: float) -> dict[str, Any]:
    """The whole run as one JSON object."""
    played = [scene for scene in scenes if not scene.is_skipped]
    of_workers = [scene for scene in played if scene.counts_gap]
    gaps = {path: gaps_of(scene for scene in of_workers if scene.path == path) for path in ("relayed", "direct")}
    counts = {verdict: sum(scene.count(verdict) for scene in played) for verdict in Verdict}
    unexpected = sum(len(scene.unexpected_drops) for scene in played)
    figures = {
        "offered": sum(scene.offered for scene in played),
        **{str(verdict): count for verdict, count in counts.items()},
        "dropped_as_expected": counts[Verdict.DROPPED] - unexpected,
        "hit": sum(len(scene.hit) for scene in played),
        "resumed": sum(scene.resumed for scene in played),
        "fresh": sum(scene.fresh for scene in played),
        "on_killed_workers": sum(len(scene.hit) for scene in of_workers),
        "resumed_after_kill": sum(scene.resumed for scene in of_workers),
        "gap_p50_ms": finite(percentile(gaps["relayed"] + gaps["direct"], 50)),
        "gap_p95_ms": finite(percentile(gaps["relayed"] + gaps["direct"], 95)),
        **{f"gap_p95_ms_{path}": finite(percentile(some, 95)) for path, some in gaps.items()},
        "over_admitted": measured([scene.over_admitted for scene in played], max),
        "leaked_slots": measured([scene.leaked_slots for scene in played], sum),
        "drift": measured([scene.drift for scene in played], max),
    }
    promises = {
        "ledger_balances": figures["offered"] == sum(counts.values()) if figures["offered"] else None,
        "none_dropped": unexpected == 0 if figures["offered"] else None,
        "resumed": keeps_conversations(of_workers),
        "gap_relayed": keeps_gap(gaps["relayed"], GAP_PROMISED_MS),
        "gap_direct": keeps_gap(gaps["direct"], GAP_PROMISED_MS + reconnect_after_ms),
        # looked for after every scene: one that could not be looked at is a promise broken
        "never_over_admitted": figures["over_admitted"] == 0 if played else None,
        "no_slot_leaked": figures["leaked_slots"] == 0 if played else None,
        "no_drift": figures["drift"] == 0 if played else None,
        "clean_logs": not logs_found if played else None,
        "records_agree": not any(scene.disagreements for scene in played) if played else None,
        "scenes": not any(scene.broken for scene in played) if played else None,
    }
    return {
        **figures,
        "promises": promises,
        "not_measured": [name for name, is_kept in promises.items() if is_kept is None],
        "skipped": [f"{scene.name} ({scene.path})" for scene in scenes if scene.is_skipped],
        "kept": bool(played) and False not in promises.values(),
        "logs_found": list(logs_found)[:20],
    }


def gaps_of(scenes: Iterable[SceneResult]) -> list[float]:
    """Of all who lost their session; whoever heard nothing of another one waits for ever."""
    return [math.inf if caller.gap_ms is None else caller.gap_ms for scene in scenes for caller in scene.hit]


def keeps_gap(gaps: Sequence[float], promised_ms: float) -> bool | None:
    worst = percentile(gaps, 95)
    return None if worst is None else worst <= promised_ms


def keeps_conversations(scenes: Iterable[SceneResult]) -> bool | None:
    """Of the calls on killed workers; one that cannot say is none that went on."""
    hit = [caller for scene in scenes for caller in scene.hit]
    return sum(caller.is_resumed is True for caller in hit) >= RESUMED_PROMISED * len(hit) if hit else None


def finite(value: float | None) -> float | None:
    """JSON has no word for what never came."""
    return None if value is None or math.isinf(value) else value
