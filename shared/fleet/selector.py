"""Which worker gets the next call.

Least loaded by share of what it offers; among equals the one with fewer calls, then the lower id, so that the
choice is a function of its input. `reserve.lua` decides by the same order, atomically; the contract suite holds
the two together.
"""

from collections.abc import Iterable

from shared.fleet.worker import WorkerView


def best_worker(workers: Iterable[WorkerView], now_ms: int, bot: str = "") -> WorkerView | None:
    """The worker that should take the next call of this bot, or None when none can."""
    able = [worker for worker in workers if worker.can_take(now_ms, bot)]
    return min(able, key=lambda w: (w.used / w.record.offered, w.used, w.record.worker_id), default=None)
