"""How many calls this worker offers to take: less when its event loop lags, none when its memory is nearly gone.

Theory of operation. What is measured makes a pressure, at once; a lower one counts only when it has lasted for a
while, so that the offer does not flap. Under some pressure half of the free slots are offered, so that calls come
slower and the lag that each brings is felt before the next; under a high one none. Calls that live stay in any case.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum

LAG_SAMPLES = 10  # of a tenth of a second: one that was late by a second counts like ten that were late by 100 ms
CALM_S = 3.0  # a lower pressure has to last for so long
RESERVE_SHARE, RESERVE_MB = 0.1, 512.0  # memory that is left alone: a tenth of the limit, but no more than this


class Pressure(IntEnum):
    """How loaded a worker is."""

    NONE = 0
    SOME = 1
    HIGH = 2


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory that may be used, and that is, in MB: this process' own, its container's or the machine's."""

    limit_mb: float
    used_mb: float

    @property
    def is_nearly_gone(self) -> bool:
        return self.limit_mb - self.used_mb < min(RESERVE_SHARE * self.limit_mb, RESERVE_MB)


def pressure_of(lag_s: float, lag_limit_s: float, memory: Memory | None) -> Pressure:
    """What was measured now, as a pressure. A limit of 0: lag does not count; no memory: it is not known."""
    if memory is not None and memory.is_nearly_gone:
        return Pressure.HIGH
    if lag_limit_s <= 0 or lag_s < lag_limit_s / 2:
        return Pressure.NONE
    return Pressure.HIGH if lag_s >= lag_limit_s else Pressure.SOME


@dataclass(frozen=True, slots=True)
class Judged:
    """The pressure that counts, and what it would fall to since when, if that lasts."""

    pressure: Pressure = Pressure.NONE
    calmer: Pressure = Pressure.NONE
    calmer_since: float | None = None


def judge(before: Judged, measured: Pressure, now: float) -> Judged:
    """What counts after one more measurement; `now` in seconds of any clock."""
    if measured >= before.pressure:
        return Judged(measured)
    if before.calmer_since is None:
        return replace(before, calmer=measured, calmer_since=now)
    calmer = max(before.calmer, measured)  # the worst since it began to be calmer
    if now - before.calmer_since >= CALM_S:
        return Judged(calmer)
    return replace(before, calmer=calmer)


def offered(pressure: Pressure, calls: int, capacity: int) -> int:
    """How many calls may be here for a new one to come, with so many here now."""
    free = max(0, capacity - calls)
    match pressure:
        case Pressure.NONE:
            return capacity
        case Pressure.SOME:
            return calls + (free + 1) // 2
        case Pressure.HIGH:
            return calls


class Load:
    """The load of this process, as it is measured; says so when the pressure changes."""

    def __init__(
        self, lag_limit_s: float, memory: Callable[[], Memory | None], changed: Callable[[Pressure, float], None]
    ) -> None:
        self._judged = Judged()
        self._lag_limit_s = lag_limit_s
        self._read_memory = memory
        self._memory: Memory | None = None
        self._changed = changed
        self._lags: deque[float] = deque(maxlen=LAG_SAMPLES)
        self._seen = 0

    def saw_lag(self, lag_s: float, now: float) -> None:
        """One sample of the event loop's lateness. Memory is looked at with every tenth."""
        self._lags.append(lag_s)
        if self._seen % LAG_SAMPLES == 0:
            self._memory = self._read_memory()
        self._seen += 1
        lag_s = sum(self._lags) / LAG_SAMPLES
        before, measured = self._judged, pressure_of(lag_s, self._lag_limit_s, self._memory)
        self._judged = judge(before, measured, now)
        if self._judged.pressure != before.pressure:
            self._changed(self._judged.pressure, lag_s)

    def offers(self, calls: int, capacity: int) -> int:
        return offered(self._judged.pressure, calls, capacity)
