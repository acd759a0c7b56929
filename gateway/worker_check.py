"""Does the worker of a call still live? Asked when the carrier hangs up: it does so at once when a worker dies.

Who hung up, the caller or the carrier after a death, is not in the webhook. A worker process that is gone answers no
connection (its machine refuses it), and its parent may have noted its death by then.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from shared.calls.record import CallRecord
from shared.fleet.worker import WorkerView
from shared.registry import Registry

AT_ONCE_S = 0.05  # a machine that is there refuses or accepts within a millisecond or two
IN_THE_END_S = 2.0  # a machine that is not there does neither


class WorkerCheck:
    """Looks for the workers of calls."""

    def __init__(
        self, registry: Registry, last_workers: Callable[[], Sequence[WorkerView]], is_reachable: Callable[[str], bool]
    ) -> None:
        self._registry = registry
        self._last_workers = last_workers
        self._is_reachable = is_reachable

    async def death_of_worker(self, record: CallRecord, within_s: float = AT_ONCE_S) -> str | None:
        """In a line, how the worker of this call died; empty: it lives; None: not known within that time.

        Raises `RegistryAway`.
        """
        seat = [record.seat] if record.is_seated else []
        notes, is_there = await asyncio.gather(
            self._registry.death_notes(seat), self._is_there(record.worker_id, within_s)
        )
        if note := notes.get(record.seat):
            return f"its worker died: {note.detail or note.cause}"
        return {True: "", False: "its worker died", None: None}[is_there]

    async def death_in_the_end(self, record: CallRecord) -> str:
        """The same, however long it takes: of a machine that does not answer us, its lease is the last word."""
        death = await self.death_of_worker(record, IN_THE_END_S)
        if death is not None:
            return death
        renewed_by_ms = await self._lease_of(record.worker_id)
        await asyncio.sleep(max(0.0, (renewed_by_ms - self._registry.now_ms()) / 1000))
        return "" if await self._lease_of(record.worker_id) > renewed_by_ms else "its worker is unreachable"

    async def _lease_of(self, worker_id: str) -> int:
        """Until when the worker has a lease, by the registry's time; 0 if nobody knows it."""
        views = await self._registry.workers()
        return next((view.lease_until_ms for view in views if view.record.worker_id == worker_id), 0)

    async def _is_there(self, worker_id: str, within_s: float) -> bool | None:
        """Whether something listens where the worker was; a worker that nobody knows any more is not looked for."""
        addresses = [view.record.address for view in self._last_workers() if view.record.worker_id == worker_id]
        if not addresses or not self._is_reachable(addresses[0]):
            return True
        host, _, port = addresses[0].rpartition(":")
        try:
            async with asyncio.timeout(within_s):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except TimeoutError:
            return None
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True
