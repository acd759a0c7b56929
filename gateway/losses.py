"""Calls that the fleet lost: their stream was closed, or refused, for want of a worker.

Written into the record, so that the carrier's hangup webhook, whichever gateway it reaches, ends the call as failed.
An attachment makes the mark stale by itself. While the registry is away marks wait for it, here.
"""

from shared.calls.record import CallRecord
from shared.registry import Registry, RegistryAway
from shared.telemetry.catalogue import REGISTRY_ERRORS
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter

MOST_PENDING = 1000


class LostCalls:
    """Marks calls as lost."""

    def __init__(self, registry: Registry, meter: Meter) -> None:
        self._registry = registry
        self._meter = meter
        self._pending: dict[str, tuple[int, str]] = {}  # call_id → when it was lost, and why
        self._log = get_logger(__name__)

    async def mark(self, call_id: str, why: str) -> None:
        """The fleet has lost this call, unless a worker takes it yet. Raises nothing."""
        at_ms = self._registry.now_ms()
        try:
            await self._write(call_id, at_ms, why)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            if len(self._pending) < MOST_PENDING:
                self._pending[call_id] = at_ms, why

    async def retry(self) -> None:
        """Write what had to wait. Raises `RegistryAway` when it still has to."""
        while self._pending:
            call_id, (at_ms, why) = next(iter(self._pending.items()))
            await self._write(call_id, at_ms, why)
            self._pending.pop(call_id, None)

    async def _write(self, call_id: str, at_ms: int, why: str) -> None:
        record = await self._registry.get(call_id)
        if record and not record.is_over and not _was_attached_since(record, at_ms):
            await self._registry.patch(call_id, {"lost_at_ms": at_ms, "lost_why": why, "lost_epoch": record.epoch})
            self._log.warning("call lost", call_id=call_id, why=why)


def _was_attached_since(record: CallRecord, at_ms: int) -> bool:
    """An epoch is the registry's time of its attachment."""
    return record.epoch > at_ms
