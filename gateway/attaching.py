"""Which worker a leg is attached to: the one that its call is routed to, or another, when that one is gone or full.

Theory of operation. Those that were asked in vain are avoided, so that every other worker is asked before one of them
is asked again; when nobody else has room, all may be asked again, the lost one, too: it may have been started anew,
or only its connection was lost, and then the session is still there. Slots are reserved; while the registry is away,
the workers last heard of are asked, who have the last word anyway.

A live call whose worker is gone is judged first (`judging.py`). A passenger is placed at once. A suspect, of which one
worker has died, is placed where it can do the least harm, and waits until there is such a place. One of which two have
died is told that we are sorry, and is over. Callers who wait for long hear music.
Knows the registry, and nothing of frames.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from gateway.busy import speak
from gateway.ends import End, WorkerEnd, WorkerRefused
from gateway.judging import CulpritJudge
from gateway.leg import Leg, LegEnd, Side
from gateway.music import Music, clear
from gateway.notebook import Notebook
from gateway.prompt import Prompt
from gateway.routing import Route
from shared.calls.culprit import Judgement, Verdict
from shared.calls.outcome import Reason
from shared.calls.timeline import TimelineEvent
from shared.fleet.selector import best_worker
from shared.fleet.worker import WorkerView
from shared.registry import Registry, RegistryAway
from shared.registry.blame import convict
from shared.registry.endings import end_call
from shared.sfvopi.closing import CloseCode, Refusal
from shared.telemetry.catalogue import (
    CALLS,
    CULPRITS,
    REATTACHMENTS,
    REGISTRY_ERRORS,
    ROUTES,
    WORKER_ADDRESSES_REFUSED,
)
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter

DEADLINE_S = 5.0  # at least, whatever the settings are
REAPER_MARGIN_S = 1.0  # before housekeeping ends a call whose worker is silent
LAST_RESORT_S = 3.0  # before a suspect is given up: rather beside another one than nowhere, most are innocent
MUSIC_AFTER_S = 2.0  # a gap that is shorter is a pause in speaking
FIRST_DEADLINE_S = 1.5  # before the stream is accepted: its carrier waits for that as well
HOLD_S = 6.0  # a slot waits for its stream so long: longer than a worker may take to accept
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.5


class Suspected(Exception):
    """The call that was to be attached to another worker may have killed its own: see `Attaching.attach_judged`."""

    def __init__(self, judgement: Judgement) -> None:
        super().__init__(str(judgement.verdict))
        self.judgement = judgement


@dataclass(frozen=True, slots=True)
class Recordings:
    """What callers hear from a gateway that has no worker for them."""

    music: Music
    apology: Prompt


class Attaching:
    """Attaches legs to workers, for the first time and again."""

    def __init__(
        self,
        registry: Registry,
        last_workers: Callable[[], Sequence[WorkerView]],
        is_reachable: Callable[[str], bool],
        notebook: Notebook,
        meter: Meter,
        judge: CulpritJudge,
        recordings: Recordings,
        lost_for_s: float,
    ) -> None:
        """`lost_for_s`: housekeeping ends a live call whose worker is silent for longer."""
        self._registry = registry
        self._last_workers = last_workers
        self._is_reachable = is_reachable
        self._notebook = notebook
        self._meter = meter
        self._judge = judge
        self._recordings = recordings
        self._lost_for_s = lost_for_s
        self._log = get_logger(__name__)

    async def attach(self, leg: Leg, route: Route) -> WorkerEnd:
        """To this worker; if it is away or has no room, to another. Raises `WorkerRefused`, `Suspected`."""
        try:
            return await self._ask(leg, route)
        except WorkerRefused as refused:
            if refused.status != Refusal.UNAVAILABLE:
                raise
            judgement = await self._judge.judge(leg.call_id)
            if judgement.verdict is not Verdict.PASSENGER:
                raise Suspected(judgement) from None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_DEADLINE_S):
                    is_live = await self._judge.lives(leg.call_id)
                    if worker := await self._look_for_another(leg, {route.worker_id}, is_live=is_live):
                        return worker
            raise

    async def attach_again(self, leg: Leg, carrier: End, ended: LegEnd) -> WorkerEnd | LegEnd:
        """After a worker was lost: a stream to another one, or how the leg shall end."""
        await asyncio.sleep(min(leg.homeless_s / 4, LONGEST_PAUSE_S))  # workers that drop it at once get no burst
        return await self.attach_judged(leg, carrier, await self._judge.judge(leg.call_id), ended)

    async def attach_judged(
        self, leg: Leg, carrier: End, judgement: Judgement, ended: LegEnd | None = None
    ) -> WorkerEnd | LegEnd:
        """The same of a call that has been judged; `ended` is how its last worker's stream did, if we know."""
        if judgement.outlived != leg.outlived:
            leg.outlived = judgement.outlived
            self._report(leg.call_id, judgement)
        if judgement.verdict is Verdict.CONVICTED:
            return await self._apologise(leg, carrier, judgement)
        return await self._place_again(leg, carrier, ended, is_suspect=judgement.verdict is Verdict.SUSPECT)

    def _report(self, call_id: str, judgement: Judgement) -> None:
        told = {"verdict": str(judgement.verdict), "outlived": list(judgement.outlived)}
        self._meter.count(CULPRITS, verdict=judgement.verdict)
        self._notebook.write(call_id, TimelineEvent.JUDGED, **told)
        self._log.error("a call has killed its worker", call_id=call_id, **told)

    async def _apologise(self, leg: Leg, carrier: End, judgement: Judgement) -> LegEnd:
        """The call gets no other worker. It ends in the registry first: its hangup webhook must not be first."""
        detail = f"killed {', '.join(judgement.outlived)}"
        try:
            ended = await end_call(self._registry, leg.call_id, Reason.POISONOUS, {"detail": detail})
            if ended.moved and ended.record and ended.record.result:
                result, reason = ended.record.result, Reason.POISONOUS
                self._meter.count(CALLS, result=result, reason=reason)
                self._notebook.write(leg.call_id, TimelineEvent.ENDED, reason=str(reason), result=str(result))
            await convict(self._registry, leg.call_id, leg.bot, judgement.outlived)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
        await clear(leg, carrier, leg.format)
        await speak(carrier, self._recordings.apology.frames(leg.format), leg.has_begun)
        return LegEnd(Side.GATEWAY, CloseCode.NORMAL, str(Reason.POISONOUS))

    async def _place_again(
        self, leg: Leg, carrier: End, ended: LegEnd | None, *, is_suspect: bool
    ) -> WorkerEnd | LegEnd:
        lost, since_ms, code = leg.worker_id, self._registry.now_ms(), ended.code if ended else None
        within_s = max(DEADLINE_S, self._lost_for_s - REAPER_MARGIN_S) - leg.homeless_s
        alone_s = within_s - LAST_RESORT_S if is_suspect else 0.0
        try:
            async with asyncio.timeout(within_s):
                worker = await self._look_with_music(leg, carrier, {lost} if lost else set(), alone_s)
        except TimeoutError:
            self._meter.count(REATTACHMENTS, result="failed")
            self._log.error("no worker for a live call", call_id=leg.call_id, lost=lost, code=code)
            return LegEnd(Side.GATEWAY, CloseCode.INTERNAL, "no worker")
        if worker is None:
            return ended or LegEnd(Side.GATEWAY, CloseCode.NORMAL, "the call is over")
        self._meter.count(REATTACHMENTS, result="attached")
        ms = self._registry.now_ms() - since_ms
        told = {"worker_id": leg.worker_id, "lost": lost, "code": code, "ms": ms}
        self._notebook.write(leg.call_id, TimelineEvent.REATTACHED, **told)
        self._log.warning("call attached to another worker", call_id=leg.call_id, **told)
        return worker

    async def _look_with_music(self, leg: Leg, carrier: End, lost: set[str], alone_s: float) -> WorkerEnd | None:
        """None: the call is over. Looks until it is cancelled."""
        worker = None
        try:
            async with self._recordings.music.playing(leg, carrier, leg.format, after_s=MUSIC_AFTER_S) as has_begun:
                worker = await self._look_for_another(leg, lost, is_live=True, alone_s=alone_s)
            if worker and has_begun.is_set():
                await clear(leg, carrier, leg.format)
        except BaseException:
            if worker:
                worker.abort()
            raise
        return worker

    async def _look_for_another(
        self, leg: Leg, in_vain: set[str], *, is_live: bool, alone_s: float = 0.0
    ) -> WorkerEnd | None:
        """None: the call is over. Looks until it is cancelled; for `alone_s` only for a suspect's place."""
        pause_s, clock = FIRST_PAUSE_S, asyncio.get_running_loop().time
        alone_until = clock() + alone_s
        while not await self._is_over(leg.call_id):
            another = await self._place(leg, in_vain, is_live=is_live, is_suspect=clock() < alone_until)
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

    async def _place(self, leg: Leg, avoid: Collection[str], *, is_live: bool, is_suspect: bool) -> Route | None:
        call_id, bot, hold_ms = leg.call_id, leg.bot, round(HOLD_S * 1000)
        try:
            held = await self._registry.reserve(
                call_id, hold_ms, avoid, is_live=is_live, is_suspect=is_suspect, bot=bot
            )
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
