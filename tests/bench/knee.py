"""The search for the largest number of calls that is held. Pure: numbers out, verdicts in.

Theory of operation. The ramp gives a first guess. While holds pass, go up by a tenth, then by twice as much; while they
fail, down likewise; between a pass and a failure, halve. It ends when the two are as near as a twentieth of the
calls, at most, or one. More calls are taken to be no easier than fewer.
"""


class KneeSearch:
    """`next()` says with how many calls to hold, None when it is known; then `held` takes the verdict."""

    def __init__(self, guess: int, most: int) -> None:
        self.passed: int | None = None  # the knee so far; 0: not even one call
        self.failed: int | None = None
        self._guess = max(1, min(guess, most))
        self._most = most
        self._passes = self._failures = 0

    @property
    def is_open(self) -> bool:
        """Whether the knee may lie higher: nothing that failed is near enough."""
        return self.passed is None or self.failed is None or self.failed - self.passed > resolution(self.passed)

    def next(self) -> int | None:
        if self.passed is None and self.failed is None:
            return self._guess
        if self.passed is None:
            assert self.failed is not None
            return max(1, self.failed - step(self.failed) * 2 ** (self._failures - 1))
        if self.failed is None:
            return (
                None
                if self.passed >= self._most
                else min(self._most, self.passed + step(self.passed) * 2 ** (self._passes - 1))
            )
        return None if self.failed - self.passed <= resolution(self.passed) else (self.passed + self.failed) // 2

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


def step(calls: int) -> int:
    return max(1, round(calls / 10))


def resolution(calls: int) -> int:
    """How near is near enough."""
    return max(1, calls // 20)
