"""The slots of a fleet, in memory: what the Lua files on fleet keys do, said in Python. Pure; time is a parameter.

A slot is a call's place on one worker, with a time at which it ends by itself. A call has at most one. Slots
that have ended stay listed, uncounted, until somebody removes them: they are how the reaper finds what the dead
left. A heartbeat sets the ends of the slots that it names, makes those that are missing, and touches no other.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from shared.fleet.quarantine import NONE, Quarantines, is_barred, kept_worker
from shared.fleet.selector import PROBATION_MS, best_worker
from shared.fleet.worker import WorkerRecord, WorkerState, WorkerView
from shared.registry.contract import LapsedSlot
from shared.registry.line import Waiting
from shared.registry.settling import settling_ms

# Slots that ended so long ago are of no use to any reaper; heartbeats remove them.
FORGOTTEN_AFTER_MS = 24 * 3600 * 1000


class Slots:
    """Workers with their leases, and who holds a slot where."""

    def __init__(self) -> None:
        self._workers: dict[str, WorkerRecord] = {}
        self._leases: dict[str, int] = {}
        self._ends: dict[str, dict[str, int]] = {}  # worker_id → call_id → when the slot ends
        self._holders: dict[str, str] = {}  # call_id → worker_id
        self._of_number: dict[str, set[str]] = {}  # number → calls that count for its ceiling
        self._gateways: dict[str, int] = {}  # gateway_id → when its lease ends
        self._probation: dict[str, tuple[int, str]] = {}  # worker_id → when which suspect was seated there last
        self.since_ms = 0  # the first heartbeat

    def views(self, now_ms: int) -> list[WorkerView]:
        """All workers, in order of their ids."""
        return [
            WorkerView(self._workers[worker_id], self._used(worker_id, now_ms), self._leases[worker_id])
            for worker_id in sorted(self._workers)
        ]

    def worker(self, worker_id: str) -> WorkerRecord:
        return self._workers[worker_id]

    def beat(self, worker: WorkerRecord, live_calls: Sequence[str], now_ms: int, until_ms: int) -> None:
        """A worker lives until then, and so do its live calls' slots, except those held elsewhere by now."""
        me = worker.worker_id
        self.since_ms = self.since_ms or now_ms
        self._workers[me] = worker
        self._leases[me] = until_ms
        ends = self._ends.setdefault(me, {})
        for call_id in live_calls:
            holder = self._holders.get(call_id)
            if holder is None or holder == me or self._ends[holder][call_id] <= now_ms:
                self._put(call_id, me, until_ms)
        for call_id in [c for c, end in ends.items() if end <= now_ms - FORGOTTEN_AFTER_MS]:
            self.release(call_id)

    def beat_gateway(self, gateway_id: str, now_ms: int, until_ms: int) -> int:
        """A gateway lives until then; how many do now."""
        living = {known: end for known, end in self._gateways.items() if end > now_ms}
        self._gateways = {**living, gateway_id: until_ms}
        return len(self._gateways)

    def remove_worker(self, worker_id: str) -> None:
        for call_id in list(self._ends.get(worker_id, {})):
            self.release(call_id)
        for table in (self._workers, self._leases, self._ends):
            table.pop(worker_id, None)

    def reserve(
        self,
        call_id: str,
        now_ms: int,
        until_ms: int,
        avoid: Collection[str],
        number: str = "",
        ceiling: int = 0,
        ahead: Sequence[Waiting] = (),
        settle_ms: int = 0,
        bot: str = "",
        quarantines: Quarantines = NONE,
        is_suspect: bool = False,
    ) -> tuple[str, int] | None:
        """The worker and the end of the call's slot: the one it holds on a fresh worker, else the best one.

        A ceiling of -1 is a call that lives: it goes up to capacities, and no quarantine concerns it. Those `ahead` in
        line count as if they had been placed, wherever their own numbers' ceilings let them and a worker that this
        call could have runs their bots.
        """
        holder, watched = self._holders.get(call_id), self._watched(call_id, now_ms)
        # the slot that a suspect has is that of the worker that died, unless it was just given to it as a suspect
        if holder in avoid or (is_suspect and holder != self._own_seat(call_id)):
            holder = None
        if holder is not None and self._ends[holder][call_id] > now_ms and self._leases[holder] > now_ms:
            return holder, self._ends[holder][call_id]
        if settling_ms(self.since_ms, settle_ms, now_ms):
            return None
        views = [view for view in self.views(now_ms) if view.record.worker_id not in avoid]
        if ceiling < 0:  # it lives
            views = [replace(view, record=replace(view.record, offers=None)) for view in views]
            quarantines = NONE
        kept = kept_worker(self.views(now_ms), quarantines, now_ms)

        def runs(view: WorkerView, asked: str) -> bool:
            return view.record.can_run(asked) and not is_barred(view.record, asked, quarantines, kept)

        able = [view for view in views if view.can_take(now_ms) and runs(view, bot)]
        if is_suspect:
            able = [view for view in able if view.record.worker_id not in watched]
        best = best_worker(able, now_ms, last=watched)
        if best is None or (is_suspect and self._is_half_watched(watched, now_ms)):
            return None
        free = sum(view.record.offered - view.used for view in able)
        placed = {number: self._others_of(number, call_id, now_ms)}
        for other in ahead:
            if free == 0:
                break
            if not any(runs(view, other.bot) for view in able):
                continue
            if other.number not in placed:
                placed[other.number] = self._others_of(other.number, call_id, now_ms)
            if not other.ceiling or placed[other.number] < other.ceiling:
                placed[other.number] += 1
                free -= 1
        if free == 0 or (ceiling > 0 and placed[number] >= ceiling):
            return None
        self._put(call_id, best.record.worker_id, until_ms)
        if ceiling > 0:
            self.count_for(number, call_id)
        if is_suspect:
            self._probation.pop(self._own_seat(call_id), None)
            self._probation[best.record.worker_id] = now_ms, call_id
        return best.record.worker_id, until_ms

    def _watched(self, call_id: str, now_ms: int) -> frozenset[str]:
        """The workers on which another suspect was seated a moment ago."""
        self._probation = {w: (at, whose) for w, (at, whose) in self._probation.items() if at + PROBATION_MS > now_ms}
        return frozenset(worker_id for worker_id, (_, whose) in self._probation.items() if whose != call_id)

    def _own_seat(self, call_id: str) -> str:
        return next((worker_id for worker_id, (_, whose) in self._probation.items() if whose == call_id), "")

    def _is_half_watched(self, watched: Collection[str], now_ms: int) -> bool:
        """Whether that is so for half of the serving workers, or for one."""
        views = self.views(now_ms)
        serving = [v for v in views if v.record.state is WorkerState.SERVING and v.is_fresh(now_ms)]
        return sum(view.record.worker_id in watched for view in serving) >= max(1, len(serving) // 2)

    def count_for(self, number: str, call_id: str) -> None:
        """The call counts for this number's ceiling for as long as it holds a slot."""
        self._of_number.setdefault(number, set()).add(call_id)

    def _others_of(self, number: str, call_id: str, now_ms: int) -> int:
        """How many other calls of this number hold slots that have not ended. Those without any are forgotten."""
        if number not in self._of_number:
            return 0
        holding = self._of_number[number] = {c for c in self._of_number[number] if c in self._holders}
        return sum(self._ends[self._holders[other]][other] > now_ms for other in holding - {call_id})

    def occupy(self, call_id: str, worker_id: str, now_ms: int, until_ms: int) -> bool:
        """The call's slot on this worker lasts until then, if it has one or one is free. Unknown workers have none."""
        if worker_id not in self._workers:
            return False
        holds = self._ends[worker_id].get(call_id, 0) > now_ms
        if not holds and self._used(worker_id, now_ms) >= self._workers[worker_id].offered:
            return False
        self._put(call_id, worker_id, until_ms)
        return True

    def release(self, call_id: str) -> bool:
        """Whether there was anything to give back."""
        holder = self._holders.pop(call_id, None)
        if holder is None:
            return False
        del self._ends[holder][call_id]
        return True

    def held_by(self, worker_id: str, now_ms: int) -> frozenset[str]:
        """The calls that have slots there which count."""
        return frozenset(call_id for call_id, end in self._ends[worker_id].items() if end > now_ms)

    def lapsed(self, now_ms: int) -> list[LapsedSlot]:
        slots = (
            LapsedSlot(call_id, worker_id, min(end, self._leases[worker_id]))
            for worker_id in sorted(self._workers)
            for call_id, end in sorted(self._ends[worker_id].items())
        )
        return [slot for slot in slots if slot.ended_at_ms <= now_ms]

    def _put(self, call_id: str, worker_id: str, until_ms: int) -> None:
        self.release(call_id)
        self._ends[worker_id][call_id] = until_ms
        self._holders[call_id] = worker_id

    def _used(self, worker_id: str, now_ms: int) -> int:
        return sum(end > now_ms for end in self._ends[worker_id].values())
