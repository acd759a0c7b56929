"""Which worker gets the next call.

Least loaded by share of what it offers; among equals the one with fewer calls, then the lower id, so that the
choice is a function of its input. A worker on which a suspect (a call that may have killed its worker) was seated a
moment ago comes last: if it dies, it takes as few others along as can be. `reserve.lua` decides by the same order,
atomically; the contract suite holds the two together.
"""

from collections.abc import Collection, Iterable

from shared.fleet.worker import WorkerView

PROBATION_MS = 5_000  # a bot that crashes its process does so within the first seconds, or late


def best_worker(
    workers: Iterable[WorkerView], now_ms: int, bot: str = "", *, last: Collection[str] = ()
) -> WorkerView | None:
    """The worker that should take the next call of this bot, or None when none can; one of `last` (ids) only then."""

    def cost(worker: WorkerView) -> tuple[bool, float, int, str]:
        worker_id = worker.record.worker_id
        return worker_id in last, worker.used / worker.record.offered, worker.used, worker_id

    return min((worker for worker in workers if worker.can_take(now_ms, bot)), key=cost, default=None)
