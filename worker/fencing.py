"""Is a call still ours? And: nobody speaks before that is known, when this process has slept past its lease.

Theory of operation. An attachment is known by its epoch: the registry's time in ms when it was made, above any before
it. While the registry is away an attachment has none, but our clock is the registry's, so that the two can be compared.
Whoever attached last has the call. A process that stood still for longer than its lease (stopped, paused with its
machine, blocked by a bot) may have been given up meanwhile: its sessions hold their tongues until their epochs were
compared, or until the registry has not answered.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from enum import StrEnum

from shared.calls.record import CallRecord

BEAT_S = 0.1
LONGEST_S = 2.0  # a caller is not left without a word because nobody looked


class Claim(StrEnum):
    """A session's attachment against the call's record."""

    OURS = "ours"
    UNTOLD = "untold"  # the registry has not heard of it: it was away, or has lost it
    SUPERSEDED = "superseded"  # another worker attached the call after us


def claim_on(record: CallRecord, worker_id: str, epoch: int, attached_at_ms: int) -> Claim:
    """Where our attachment (`epoch` 0: not known to the registry) stands."""
    if epoch and record.epoch == epoch:
        return Claim.OURS
    if record.worker_id != worker_id and record.epoch > max(epoch, attached_at_ms):
        return Claim.SUPERSEDED
    return Claim.UNTOLD


class SleepGuard:
    """Notices that this process stood still, and holds back whoever wants to write until it was looked after."""

    def __init__(self, lease_s: float, clocks: tuple[Callable[[], float], ...] = (time.monotonic, time.time)) -> None:
        self.slept = asyncio.Event()
        """Set when somebody is to look, and then call `go_on`."""
        self._lease_s = lease_s
        self._clocks = clocks  # a machine that was paused shows it on one of them
        self._beats = self._now()
        self._may_write = asyncio.Event()
        self._may_write.set()

    async def keep_beating(self) -> None:
        """A side task."""
        while True:
            self._beats = self._now()
            await asyncio.sleep(BEAT_S)
            self._notice()

    async def may_write(self) -> None:
        """Returns at once, unless this process has just woken up."""
        self._notice()
        if not self._may_write.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_S):
                    await self._may_write.wait()

    def go_on(self) -> None:
        """It was looked after."""
        self._beats = self._now()
        self.slept.clear()
        self._may_write.set()

    def _notice(self) -> None:
        if any(now - beat > self._lease_s for now, beat in zip(self._now(), self._beats, strict=True)):
            self._may_write.clear()
            self.slept.set()

    def _now(self) -> tuple[float, ...]:
        return tuple(clock() for clock in self._clocks)
