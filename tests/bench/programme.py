"""What is run, in which order, and for how long: quick, full, or what a developer asked for.

All of it ends in time by its own arithmetic: measurements at a fixed number take as long as they take, and the searches
for knees share what is left.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

from shared.carrier.load.client import Load
from tests.bench.hold import hold, takes_s
from tests.bench.subjects import ALL_CORES, CORES_FOR_TWO, MAKERS, Cores
from worker.capacity.knee import FINE
from worker.capacity.ramp import ONE_CALL_S, Effort, find_knee
from worker.capacity.trial import Trial

OURS, GUIDE, GUIDE_NO_SMART_TURN, ECHO = "ours-direct", "guide", "guide-no-smart-turn", "echo"
TWO_WORKERS, TWO_CORES = "ours-two-workers", "ours-two-cores"
COMPARED = (GUIDE_NO_SMART_TURN, OURS, ECHO)  # these in several rounds
ROUNDS = 3
ROUND_S = 270.0  # at most, of one subject
FULL_S = 44 * 60.0
STOP_S = 4.0  # a subject's end
MOST_EXPECTED = 60  # calls at ours' knee: the echo is measured with as many in the end
QUICK_UNTIL_S = {GUIDE_NO_SMART_TURN: 123.0, OURS: 258.0}  # from its start: all of it takes at most five minutes
QUICK_ECHO_S = 10.0
QUICK_ONE_CALL_S = 18.0
AGAIN_ONE_CALL_S = 10.0  # of a subject whose answers to one call are known from an earlier round
QUICK_FINENESS = {GUIDE_NO_SMART_TURN: 5, OURS: 8}  # few steps, or a knee stays open
SURELY = {
    GUIDE_NO_SMART_TURN: 8,
    OURS: 36,
    "ours-relayed": 12,
    TWO_WORKERS: 24,
    TWO_CORES: 48,
    ECHO: 90,
}  # far below the knee

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
            self.find_knee(name, began + until_s - time.monotonic(), QUICK_FINENESS[name], QUICK_ONE_CALL_S)
        self.hold(ECHO, self._knee_of(OURS) or self._fixed, QUICK_ECHO_S)

    def full(self, names: Sequence[str], rounds: int) -> None:
        """Knees of all, in several rounds of those that are compared; then all at the fixed number, in as many rounds;
        then the echo with as many calls as ours carries."""
        ends_at = time.monotonic() + FULL_S
        searches = list(in_rounds(names, rounds))
        fixed_s = sum(takes_s(name, self._fixed, self._seconds) for name in searches)
        fixed_s += takes_s(ECHO, MOST_EXPECTED, self._seconds)
        for number, name in enumerate(searches):
            left_s = ends_at - fixed_s - time.monotonic()
            self.find_knee(name, min(ROUND_S, left_s / (len(searches) - number)) - STOP_S)
        self.fixed(searches, self._fixed)
        if ECHO in names and (knee := self._knee_of(OURS)):
            self.hold(ECHO, knee, self._seconds)

    def workers(self) -> None:
        """One worker on a core, two on it, and, where there are cores for it, two with one each."""
        for name in [OURS, TWO_WORKERS, *([TWO_CORES] if len(ALL_CORES) >= CORES_FOR_TWO else [])]:
            self.find_knee(name)

    def fixed(self, names: Sequence[str], calls: int) -> None:
        """Figures of each at one number of calls."""
        for name in names:
            self.hold(name, calls, self._seconds)

    def find_knee(
        self, name: str, limit_s: float = ROUND_S, fineness: int = FINE, one_call_s: float = ONE_CALL_S
    ) -> None:
        """One round more of this subject."""
        rounds = self.knees.setdefault(name, [])
        known_ms = next((one["response_of_one_ms"] for one in rounds if not one["one_call"]["disturbed"]), None)
        effort = Effort(
            until=time.monotonic() + limit_s,
            most=self._most,
            surely=SURELY.get(name, 0),
            fineness=fineness,
            one_call_s=AGAIN_ONE_CALL_S if known_ms else one_call_s,
            response_of_one_ms=known_ms,
        )
        rounds.append(asyncio.run(self._search(name, effort)))

    def hold(self, name: str, calls: int, seconds: float) -> None:
        self.held.append({"subject": name, **asyncio.run(hold(name, self._cores, calls, seconds, self._say))})

    async def _search(self, name: str, effort: Effort) -> dict[str, Any]:
        self._say(f"{name}: starting")
        async with MAKERS[name](self._cores) as subject:
            with Load(subject.target) as load:
                found = find_knee(name, Trial(subject, load), effort, self._say)
            return {**found, "goes_first": subject.goes_first}

    def _knee_of(self, name: str) -> int | None:
        """The median of its rounds."""
        known = [found["knee"] for found in self.knees.get(name, []) if found["knee"]]
        return round(median(known)) if known else None


def in_rounds(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Those that are compared in turn, so that whatever else the machine does meets all of them; then the others."""
    for _ in range(rounds):
        yield from (name for name in COMPARED if name in names)
    yield from (name for name in names if name not in COMPARED)


def all_subjects() -> list[str]:
    return list(MAKERS)


def usual_subjects() -> list[str]:
    """Those of a full run."""
    return [name for name in MAKERS if name not in (TWO_WORKERS, TWO_CORES)]
