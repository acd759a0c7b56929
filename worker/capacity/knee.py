"""The search for the largest number of calls that is held. Pure: numbers out, verdicts in.

Theory of operation. The ramp gives a first guess, and a suspect: where it broke. While holds pass, go up by a step,
then by twice as much, but half of the way to the suspect at most, until that has passed; while they fail, down
likewise, by steps alone; between a pass and a failure, halve. It ends when the two are as near as the `fineness` says
(20: a twentieth of the calls), or one. More calls are taken to be no easier than fewer.
"""

FINE = 20


class KneeSearch:
    """`next()` says with how many calls to hold, None when it is known; then `held` takes the verdict."""

    def __init__(self, guess: int, most: int, suspect: int | None = None, fineness: int = FINE) -> None:
        self.passed: int | None = None  # the knee so far; 0: not even one call
        self.failed: int | None = None
        self._guess = max(1, min(guess, most))
        self._most = most
        self._suspect = suspect or 0
        self._fineness = fineness
        self._passes = self._failures = 0

    @property
    def is_open(self) -> bool:
        """Whether the knee may lie higher: nothing that failed is near enough."""
        return (
            self.passed is None
            or self.failed is None
            or self.failed - self.passed > resolution(self.passed, self._fineness)
        )

    def next(self) -> int | None:
        if self.passed is None and self.failed is None:
            return self._guess
        if self.passed is None:
            assert self.failed is not None
            return max(1, self.failed - step(self.failed, self._fineness) * int(2 ** (self._failures - 1)))
        if self.failed is None:
            higher = self.passed + step(self.passed, self._fineness) * int(2 ** (self._passes - 1))
            if self.passed >= self._most:
                return None
            return min(higher, self._most if self.passed >= self._suspect else self._towards_suspect(self.passed))
        return (self.passed + self.failed) // 2 if self.is_open else None

    def _towards_suspect(self, passed: int) -> int:
        """Half of the way, or all of it where its failure would settle the matter."""
        is_near = self._suspect - passed <= resolution(passed, self._fineness)
        return self._suspect if is_near else (passed + self._suspect + 1) // 2

    def held(self, calls: int, *, is_kept: bool) -> None:
        """The verdict on a hold with so many calls."""
        if is_kept:
            self.passed = max(calls, self.passed or 0)
            self._passes += 1
        else:
            self.failed = min(calls, self.failed or calls)
            self._failures += 1
            if calls == 1:
                self.passed = 0


def step(calls: int, fineness: int = FINE) -> int:
    return max(1, round(2 * calls / fineness))


def resolution(calls: int, fineness: int = FINE) -> int:
    """How near is near enough."""
    return max(1, calls // fineness)
