"""What this gateway gives out by itself while the registry is away: its share of the slots that were free.

Theory of operation. With every heartbeat the gateway learns of the workers, and how many gateways there are. When the
registry does not answer, each gives out at most the free slots last heard of ÷ gateways, to the workers that had them.
The worker has the last word, so a view that is wrong admits nobody above its capacity. What was given out is counted
until the registry is back and has been told of it; nothing is known of calls that end meanwhile. A call that is asked
for again gets the same answer from the same gateway; another gateway counts it once more.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.notebook import Notebook
from shared.calls.state import CallEvent, CallState
from shared.calls.timeline import TimelineEvent
from shared.fleet.quarantine import Quarantines, open_to
from shared.fleet.selector import best_worker
from shared.fleet.worker import WorkerView
from shared.registry import Registry

MOST_REFUSED = 1000  # the slots of more end by themselves


@dataclass(frozen=True, slots=True)
class LastKnown:
    """The fleet, as last heard of."""

    workers: tuple[WorkerView, ...] = ()
    gateways: int = 1
    at_ms: int = 0
    quarantines: Quarantines = field(default_factory=dict)

    def share(self, bot: str = "") -> int:
        """How many slots one gateway may give out to calls of this bot (empty: of any)."""
        free = (view.record.capacity - view.used for view in self.able(bot))
        return sum(free) // self.gateways

    def able(self, bot: str) -> list[WorkerView]:
        """The workers that could take a call of this bot."""
        views = open_to(bot, self.workers, self.quarantines, self.at_ms)
        return [view for view in views if view.can_take(self.at_ms, bot)]


@dataclass(frozen=True, slots=True)
class Given:
    """A slot that was given out here, for a call to this number of ours."""

    worker_id: str
    number: str
    attach_by_ms: int
    changes: Mapping[str, Any]
    """Fields of the call's record, still to be written."""


def choose(known: LastKnown, given: Collection[Given], number: str, ceiling: int, bot: str = "") -> str | None:
    """The worker for one more call of this bot; None when this gateway's share is given out, or the number's."""
    able = known.able(bot)
    ids = {view.record.worker_id for view in able}
    if sum(other.worker_id in ids for other in given) >= known.share(bot):
        return None
    if ceiling and sum(other.number == number for other in given) >= ceiling // known.gateways:
        return None
    taken = Counter(other.worker_id for other in given)
    views = (replace(view, used=view.used + taken[view.record.worker_id]) for view in able)
    best = best_worker(views, known.at_ms, bot)
    return best.record.worker_id if best else None


class LocalAdmission:
    """The shell around `choose`: remembers what was given out, and writes it down when the registry is back."""

    def __init__(self, registry: Registry, notebook: Notebook) -> None:
        self._registry = registry
        self._notebook = notebook
        self._known = LastKnown()
        self._given: dict[str, Given] = {}
        self._refused: dict[str, None] = {}

    def learn(self, known: LastKnown) -> None:
        """The fleet as it is now."""
        self._known = known

    def place(
        self, call_id: str, number: str, ceiling: int, attach_by_ms: int, changes: Mapping[str, Any]
    ) -> Given | None:
        """A slot for this call, the same when it is asked for again; None if there is none to give."""
        if call_id not in self._given:
            worker_id = choose(self._known, self._given.values(), number, ceiling, str(changes.get("bot", "")))
            if worker_id is None:
                return None
            self._given[call_id] = Given(worker_id, number, attach_by_ms, changes)
        return self._given[call_id]

    def refuse(self, call_id: str) -> None:
        """This call gets no slot of ours; the registry may have put one aside, and heard of it too late to say so."""
        if len(self._refused) < MOST_REFUSED:
            self._refused[call_id] = None

    async def tell(self) -> None:
        """Write down what was given out while the registry was away. Raises `RegistryAway` when it still is."""
        for call_id in list(self._refused):
            record = await self._registry.get(call_id)
            if record is None or record.state in (CallState.RINGING, CallState.ENDED):
                await self._registry.release(call_id)
            del self._refused[call_id]
        for call_id, given in list(self._given.items()):
            await self._write_down(call_id, given)
            del self._given[call_id]

    async def _write_down(self, call_id: str, given: Given) -> None:
        registry = self._registry
        moved = await registry.move(call_id, CallEvent.ANSWER, {**given.changes, "worker_id": given.worker_id})
        if not moved.moved:  # its worker was first, or it is over: what only we know is added
            traceparent = moved.record.traceparent if moved.record else ""  # of the trace that its session is in
            await registry.patch(call_id, {**given.changes, **({"traceparent": traceparent} if traceparent else {})})
        elif (left_ms := given.attach_by_ms - registry.now_ms()) > 0:
            await self._hold_slot(call_id, given.worker_id, left_ms, str(given.changes.get("bot", "")))
        await registry.count_for(given.number, call_id)
        self._notebook.write(call_id, TimelineEvent.RESERVED, worker_id=given.worker_id, locally=True)

    async def _hold_slot(self, call_id: str, worker_id: str, left_ms: int, bot: str) -> None:
        """The stream may still come. Another worker's slot, when ours was given out by somebody else, too."""
        if not await self._registry.occupy(call_id, worker_id, left_ms):
            elsewhere = await self._registry.reserve(call_id, left_ms, {worker_id}, bot=bot)
            if elsewhere:
                await self._registry.patch(call_id, {"worker_id": elsewhere.worker_id})
