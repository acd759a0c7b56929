"""When a bot's calls are placed no more: three different calls of it have killed their workers. Pure.

Theory of operation. A quarantine is for builds of a bot: fingerprints of its code, which each worker says in its
record. A worker with another build takes the bot's calls, so that a deploy ends the quarantine, worker by worker. Only
new calls are concerned; those that live go on. A fleet with nothing else to run keeps one worker for it: callers of a
fleet that answers nobody are not helped, and one worker at a time bounds the damage.
`convict.lua` and `reserve.lua` do the same in Redis; the contract suite holds them together.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shared.fleet.worker import WorkerRecord, WorkerState, WorkerView

CALLS_NEEDED = 3  # different ones, convicted with the same build of the bot …
WITHIN_MS = 600_000  # … within this time
MOST_BUILDS, MOST_CALLS = 8, 20  # that are remembered of a quarantine, the newest


@dataclass(frozen=True, slots=True)
class Quarantine:
    """New calls of this bot are not placed on workers with one of these builds of it."""

    bot: str
    at_ms: int  # since when, by the registry's time
    builds: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()  # that were convicted, the newest last

    def holds_at(self, worker: WorkerRecord) -> bool:
        """Whether this worker has a build of the bot that is quarantined."""
        return worker.builds.get(self.bot, "") in self.builds


Quarantines = Mapping[str, Quarantine]
"""By bot."""
NONE: Quarantines = {}


def is_barred(worker: WorkerRecord, bot: str, quarantines: Quarantines, kept_worker_id: str = "") -> bool:
    """Whether new calls of the bot are kept from this worker."""
    quarantine = quarantines.get(bot)
    return quarantine is not None and worker.worker_id != kept_worker_id and quarantine.holds_at(worker)


def kept_worker(workers: Iterable[WorkerView], quarantines: Quarantines, now_ms: int) -> str:
    """The worker that goes on with quarantined bots, for the fleet has nothing else: the first by id. Else ""."""
    if not quarantines:
        return ""
    serving = [w.record for w in workers if w.record.state is WorkerState.SERVING and w.is_fresh(now_ms)]
    if any(not record.builds or not has_only(record, quarantines) for record in serving):
        return ""
    return min((record.worker_id for record in serving), key=str.encode, default="")


def has_only(worker: WorkerRecord, quarantines: Quarantines) -> bool:
    """Whether each bot that this worker can run is quarantined in the build that it has."""
    return all(is_barred(worker, bot, quarantines) for bot in worker.builds if worker.can_run(bot))


def open_to(bot: str, workers: Sequence[WorkerView], quarantines: Quarantines, now_ms: int) -> list[WorkerView]:
    """Those workers, of all that there are, from which new calls of the bot are not kept."""
    kept = kept_worker(workers, quarantines, now_ms)
    return [worker for worker in workers if not is_barred(worker.record, bot, quarantines, kept)]


def is_in_force(quarantine: Quarantine, workers: Iterable[WorkerView], now_ms: int) -> bool:
    """Whether a worker runs what is quarantined. After a deploy of the bot to all of them, none does."""
    return any(worker.is_fresh(now_ms) and quarantine.holds_at(worker.record) for worker in workers)
