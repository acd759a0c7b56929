"""What is run, in which order, and for how long: quick, full, or what a developer asked for."""

import asyncio
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from tests.bench.hold import hold
from tests.bench.ramp import find_knee
from tests.bench.subjects import MAKERS, Cores

OURS, GUIDE, GUIDE_NO_SMART_TURN, ECHO = "ours-direct", "guide", "guide-no-smart-turn", "echo"
COMPARED = (GUIDE_NO_SMART_TURN, OURS)  # these in several rounds
ROUNDS = 3
ROUND_S = 270.0  # at most, of one subject
QUICK_UNTIL_S = {GUIDE_NO_SMART_TURN: 105.0, OURS: 250.0}  # from its start: all of it takes at most five minutes
QUICK_ECHO_S = 12.0

Say = Callable[[str], None]


class Programme:
    """Fills `knees` (by subject, a list of rounds) and `held` (a list of measurements at fixed numbers)."""

    def __init__(self, cores: Cores, say: Say, *, most: int, fixed: int, seconds: float) -> None:
        self.knees: dict[str, list[dict[str, Any]]] = {}
        self.held: list[dict[str, Any]] = []
        self._cores, self._say = cores, say
        self._most, self._fixed, self._seconds = most, fixed, seconds

    def quick(self) -> None:
        """Two knees, and the echo with as many calls as ours carries, or with the fixed number."""
        began = time.monotonic()
        for name, until_s in QUICK_UNTIL_S.items():
            self.find_knee(name, began + until_s - time.monotonic())
        self.hold(ECHO, self._knee_of(OURS) or self._fixed, QUICK_ECHO_S)

    def full(self, names: Sequence[str], rounds: int) -> None:
        """Knees of all, in several rounds of those that are compared; then all at the fixed number; then the echo
        with as many calls as ours carries."""
        for _ in range(rounds):
            for name in COMPARED:
                if name in names:
                    self.find_knee(name)
        for name in names:
            if name not in COMPARED:
                self.find_knee(name)
        self.fixed(names, self._fixed)
        if ECHO in names and (knee := self._knee_of(OURS)):
            self.hold(ECHO, knee, self._seconds)

    def fixed(self, names: Sequence[str], calls: int) -> None:
        """Figures of each at one number of calls."""
        for name in names:
            self.hold(name, calls, self._seconds)

    def find_knee(self, name: str, limit_s: float = ROUND_S) -> None:
        until = time.monotonic() + limit_s
        found = asyncio.run(find_knee(name, self._cores, self._most, until, self._say))
        self.knees.setdefault(name, []).append(found)

    def hold(self, name: str, calls: int, seconds: float) -> None:
        self.held.append({"subject": name, **asyncio.run(hold(name, self._cores, calls, seconds, self._say))})

    def _knee_of(self, name: str) -> int | None:
        """The median of its rounds."""
        known = [found["knee"] for found in self.knees.get(name, []) if found["knee"]]
        return round(median(known)) if known else None


def all_subjects() -> list[str]:
    return list(MAKERS)
