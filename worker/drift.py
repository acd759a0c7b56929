"""Do Redis, this worker's memory and its sockets agree on how many calls it has? Pure.

They differ for moments all the time: a call is being attached, one has just ended. What they differ by for a whole
window without a break is drift, and there should be none. A reservation that waits for its stream, and a call that
waits for its carrier to come back, are no difference: both sides of each comparison leave them out.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """Counts at one moment."""

    registry: int  # slots of calls that have, or had, their sessions here
    memory: int  # sessions whose calls have not ended
    sockets: int  # streams that are open on our port
    attached: int  # sessions that believe to have a stream


def lasting(differences: Sequence[int]) -> int:
    """What all of them have in common: the smallest, if they are all on one side of nothing."""
    is_one_sided = all(d > 0 for d in differences) or all(d < 0 for d in differences)
    return min(map(abs, differences), default=0) if is_one_sided else 0


class Drift:
    """The samples of the last window."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._began_at: float | None = None
        self._samples: deque[tuple[float, Sample]] = deque()

    def add(self, sample: Sample, now: float) -> None:
        """One more sample; `now` in seconds of any clock."""
        if self._began_at is None:
            self._began_at = now
        self._samples.append((now, sample))
        while len(self._samples) > 1 and self._samples[1][0] <= now - self._window_s:
            self._samples.popleft()

    def restart(self) -> None:
        """The registry was away: what differed meanwhile had no chance to be put right."""
        self._began_at = None
        self._samples.clear()

    @property
    def calls(self) -> int:
        """By how many calls they have disagreed for the whole window; 0 before there was one."""
        if self._began_at is None or self._samples[-1][0] - self._began_at < self._window_s:
            return 0
        samples = [sample for _, sample in self._samples]
        return lasting([sample.registry - sample.memory for sample in samples]) + lasting(
            [sample.sockets - sample.attached for sample in samples]
        )
