"""Which worker a leg is attached to: the one that its call is routed to, or another, when that one is gone or full.

Theory of operation. Those that were asked in vain are avoided, so that every other worker is asked before one of them
is asked again; when nobody else has room, all may be asked again, the lost one, too: it may have been started anew,
or only its connection was lost, and then the session is still there. Slots are reserved; while the registry is away,
the workers last heard of are asked, who have the last word anyway.
Knows the registry, and nothing of frames.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence

from gateway.ends import WorkerEnd, WorkerRefused
from gateway.leg import Leg, LegEnd, Side
from gateway.notebook import Notebook
from gateway.routing import Route
from shared.calls.timeline import TimelineEvent
from shared.fleet.selector import best_worker
from shared.fleet.worker import WorkerView
from shared.registry import Registry, RegistryAway
from shared.sfvopi.closing import CloseCode, Refusal
from shared.telemetry.catalogue import REATTACHMENTS, REGISTRY_ERRORS, ROUTES, WORKER_ADDRESSES_REFUSED
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter

DEADLINE_S = 5.0  # a caller hears nothing meanwhile
FIRST_DEADLINE_S = 1.5  # the same before the stream is accepted: its carrier waits for that as well
HOLD_S = 6.0  # a slot waits for its stream so long: longer than a worker may take to accept
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.5


class Attaching:
    """Attaches legs to workers, for the first time and again."""

    def __init__(
        self,
        registry: Registry,
        last_workers: Callable[[], Sequence[WorkerView]],
        is_reachable: Callable[[str], bool],
        notebook: Notebook,
        meter: Meter,
    ) -> None:
        self._registry = registry
        self._last_workers = last_workers
        self._is_reachable = is_reachable
        self._notebook = notebook
        self._meter = meter
        self._log = get_logger(__name__)

    async def attach(self, leg: Leg, route: Route) -> WorkerEnd:
        """To this worker; if it is away or has no room, to another. Raises `WorkerRefused`."""
        try:
            return await self._ask(leg, route)
        except WorkerRefused as refused:
            if refused.status != Refusal.UNAVAILABLE:
                raise
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_DEADLINE_S):
                    if worker := await self._look_for_another(leg, {route.worker_id}, is_live=False):
                        return worker
            raise

    async def attach_again(self, leg: Leg, ended: LegEnd) -> WorkerEnd | LegEnd:
        """After a worker was lost: a stream to another one, or how the leg shall end."""
        lost, since_ms = leg.worker_id, self._registry.now_ms()
        try:
            async with asyncio.timeout(DEADLINE_S):
                worker = await self._look_for_another(leg, {lost}, is_live=True)
        except TimeoutError:
            self._meter.count(REATTACHMENTS, result="failed")
            self._log.error("no worker for a live call", call_id=leg.call_id, lost=lost, code=ended.code)
            return LegEnd(Side.GATEWAY, CloseCode.INTERNAL, "no worker")
        if worker is None:
            return ended
        self._meter.count(REATTACHMENTS, result="attached")
        ms = self._registry.now_ms() - since_ms
        told = {"worker_id": leg.worker_id, "lost": lost, "code": ended.code, "ms": ms}
        self._notebook.write(leg.call_id, TimelineEvent.REATTACHED, **told)
        self._log.warning("call attached to another worker", call_id=leg.call_id, **told)
        return worker

    async def _look_for_another(self, leg: Leg, in_vain: set[str], *, is_live: bool) -> WorkerEnd | None:
        """None: the call is over. Looks until it is cancelled."""
        pause_s = FIRST_PAUSE_S
        while not await self._is_over(leg.call_id):
            another = await self._place(leg, in_vain, is_live=is_live)
            if another is None:
                in_vain.clear()
            else:
                try:
                    return await self._ask(leg, another)
                except WorkerRefused:
                    in_vain.add(another.worker_id)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return None

    async def _ask(self, leg: Leg, route: Route) -> WorkerEnd:
        try:
            if not self._is_reachable(route.address):  # the registry names it, and may have been told anything
                self._meter.count(WORKER_ADDRESSES_REFUSED)
                raise WorkerRefused(Refusal.UNAVAILABLE, is_away=True)
            return await leg.attach(route)
        except WorkerRefused as refused:
            self._meter.count(ROUTES, result="worker_away" if refused.is_away else "worker_refused")
            self._log.warning(
                "worker did not take the stream",
                call_id=leg.call_id,
                worker_id=route.worker_id,
                status=refused.status,
                is_away=refused.is_away,
            )
            raise

    async def _place(self, leg: Leg, avoid: Collection[str], *, is_live: bool) -> Route | None:
        try:
            held = await self._registry.reserve(leg.call_id, round(HOLD_S * 1000), avoid, is_live=is_live, bot=leg.bot)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            known = [worker for worker in self._last_workers() if worker.record.worker_id not in avoid]
            best = best_worker(known, 0, leg.bot)  # leases end while nobody can renew them
            return Route(best.record.worker_id, best.record.address) if best else None
        return Route(held.worker_id, held.address) if held else None

    async def _is_over(self, call_id: str) -> bool:
        """Whether the call has ended; a registry that is away, or has lost the call, knows of no end."""
        try:
            record = await self._registry.get(call_id)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return False
        return record is not None and record.is_over
