"""What ends a worker's capacity, and at how many calls: the knee, memory, open files. Pure.

The smallest of the three counts. Of a knee the reason is named by what was used up where it broke: a core that has
nothing left is CPU; a loop that stands still although the core has time left is lag, something in the bot blocks it;
late answers alone come from whom the bot asks.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from worker.load import RESERVE_MB, RESERVE_SHARE, Memory

CORE_USED_UP_PCT = 85.0
OTHER_FILES = 32  # that a worker may need beside its calls


class Limit(StrEnum):
    """What a worker has too little of for more calls."""

    CPU = "cpu"
    LAG = "lag"
    ANSWERS = "answers"
    MEMORY = "memory"
    SOCKETS = "sockets"
    BOUND = "bound"  # nothing broke: no more calls were allowed, or there was no time


@dataclass(frozen=True, slots=True)
class Room:
    """For how many calls there is room, and what one takes; None where that is not known."""

    calls: int | None
    per_call: float | None


@dataclass(frozen=True, slots=True)
class Capacity:
    """What was found; `calls` is for SFVOPI_CALLS_PER_WORKER."""

    calls: int
    limit: Limit
    why: str
    is_open: bool  # it may carry more
    memory: Room
    files: Room

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def capacity_of(found: Mapping[str, Any], memory: Room, files: Room) -> Capacity:
    """From a search for the knee and the room that there is. No calls: not even one was held."""
    knee = found["knee"] or 0
    limit, why = _limit_of_knee(found)
    for room, other, told in (
        (memory, Limit.MEMORY, f"memory: {_told(memory.per_call)} MB a call"),
        (files, Limit.SOCKETS, f"open files: {_told(files.per_call)} a call (ulimit -n)"),
    ):
        if room.calls is not None and room.calls < knee:
            knee, limit, why = room.calls, other, told
    is_open = bool(found["is_open"]) and limit is Limit.BOUND
    return Capacity(knee, limit, why, is_open, memory, files)


def room_in_memory(memory: Memory | None, mb_per_call: float | None, calls: int) -> Room:
    """With so many calls up; what a worker leaves alone is left here, too."""
    if memory is None or mb_per_call is None or mb_per_call <= 0:
        return Room(None, mb_per_call)
    reserve_mb = min(RESERVE_SHARE * memory.limit_mb, RESERVE_MB)
    return Room(max(0, calls + int((memory.limit_mb - memory.used_mb - reserve_mb) / mb_per_call)), mb_per_call)


def room_in_files(limit: int | None, before: int, now: int, calls: int) -> Room:
    """Of a process with this limit of open files, which had so many before the first call and has so many now."""
    per_call = (now - before) / calls if calls else 0.0
    if limit is None or per_call <= 0:
        return Room(None, None)
    return Room(max(0, int((limit - OTHER_FILES - before) / per_call)), per_call)


def _limit_of_knee(found: Mapping[str, Any]) -> tuple[Limit, str]:
    failed = [hold for hold in found["holds"] if hold["broken"]]
    if not failed:
        return Limit.BOUND, f"nothing broke with {found['knee'] or 0} calls; more were not tried"
    first = min(failed, key=lambda hold: int(hold["calls"]))
    told = "; ".join(first["broken"])
    used_pct = first["core_pct"] + first["others_on_core_pct"]
    why = f"with {first['calls']} calls, {used_pct:.0f} % of the core in use: {told}"
    if used_pct >= CORE_USED_UP_PCT:
        return Limit.CPU, why
    return (Limit.LAG if "loop lag" in told else Limit.ANSWERS), why


def _told(value: float | None) -> str:
    return "an unknown number of" if value is None else f"{value:.1f}"
