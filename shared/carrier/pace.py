"""When each 20 ms frame of the caller leaves: an absolute clock that never drifts, and what the network does to it."""

import random

from shared.carrier.plan import Knobs
from shared.sfvopi.formats import FRAME_MS

FRAME_S = FRAME_MS / 1000


class Pace:
    """Frame n is due n × 20 ms after `start`, later by jitter and stall; never before the frame ahead of it."""

    def __init__(self, knobs: Knobs) -> None:
        self._jitter_s = knobs.jitter_ms / 1000
        self._stall = knobs.stall
        self._rng = random.Random(knobs.seed)
        self._n = 0
        self._last = 0.0

    def next_due_s(self) -> float:
        """The time of the next frame, in seconds after `start`."""
        due = self._n * FRAME_S
        self._n += 1
        if self._jitter_s:
            due += self._rng.uniform(0.0, self._jitter_s)
        if (stall := self._stall) and stall.at_s <= due < stall.at_s + stall.for_s:
            due = stall.at_s + stall.for_s
        self._last = max(self._last, due)
        return self._last
