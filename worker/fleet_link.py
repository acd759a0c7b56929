"""This worker in the fleet: heartbeats, nudges, timelines, and the endings that the registry has still to hear of.

What the worker holds in memory is the truth about its own calls, but for one thing: that a call has ended. That is
the registry's, so every heartbeat reads the records of the living calls again; a nudge only makes it sooner. The same
look shows an attachment that the registry has not heard of, and one that came after ours at another worker.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from shared.calls.outcome import RESULT_OF, Reason
from shared.calls.record import CallRecord
from shared.calls.state import CallEvent, CallState
from shared.fleet.worker import Heard, WorkerRecord
from shared.process.clock import sync_clock
from shared.registry.contract import Registry, RegistryAway
from shared.registry.endings import end_call
from shared.settings import WorkerSettings
from shared.telemetry.catalogue import CALLS, REGISTRY_ERRORS
from shared.telemetry.health import Health
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from worker.ending import Ending
from worker.eta import Lengths, lengths_of
from worker.fencing import Claim, SleepGuard, claim_on
from worker.observing import CallWatch
from worker.session import Session
from worker.sessions import Sessions

# what housekeeping concludes from silence; whoever has the call knows better
CONCLUDED = frozenset({Reason.WORKER_LOST, Reason.NEVER_ATTACHED})
HAND_OVER_HOLD_MS = 10_000  # for the leg to bring the stream there
RECENT_CALLS = 200  # of which the lengths are looked at; some 10 ms
LOOK_AFTER_SLEEP_S = 1.0  # callers hear nothing meanwhile
FLUSH_S = 0.5  # timelines reach the registry so late at most


@dataclass(frozen=True, slots=True)
class UnheardEnding:
    """A call that has ended here, which the registry does not know."""

    call_id: str
    ending: Ending
    figures: dict[str, float]
    watch: CallWatch
    fence: int | None


class FleetLink:
    """The registry, as this worker uses it beside its calls."""

    def __init__(
        self,
        worker_id: str,
        seat: str,
        settings: WorkerSettings,
        registry: Registry,
        sessions: Sessions,
        meter: Meter,
        health: Health,
        describe: Callable[[], WorkerRecord],
        hear: Callable[[Heard | None], None],
        guard: SleepGuard,
    ) -> None:
        self._worker_id = worker_id
        self._seat = seat  # this start of this worker
        self._guard = guard
        self._settings = settings
        self._registry = registry
        self._sessions = sessions
        self._meter = meter
        self._health = health
        self._describe = describe  # as of now: looks at every call
        self._hear = hear  # what a heartbeat is answered with; None: the registry is away
        self._soon = asyncio.Event()
        self._unheard: list[UnheardEnding] = []
        self._outlived: set[str] = set()  # calls that live here though their records have ended
        self._log = get_logger(__name__)

    # -- heartbeats

    async def beat(self) -> bool:
        """One heartbeat: this worker, its calls, its clock. False if the registry is away."""
        self._soon.clear()
        try:
            await sync_clock(self._registry, self._meter)
            lease_ms = round(self._settings.lease_s * 1000)
            live = [session.record.call_id for session in self._sessions.all() if not session.is_recorded]
            heard = await self._registry.heartbeat(self._describe(), live, lease_ms)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            self._hear(None)
            if not self._health.registry_away:
                self._log.warning("registry is away; calls go on")
            self._health.registry_away = True
            return False
        if self._health.registry_away:
            self._log.info("registry is back")
        self._health.registry_away = False
        self._hear(heard)
        return True

    def beat_soon(self) -> None:
        """Something has changed that the fleet should hear of, or we of it, before the next heartbeat is due."""
        self._soon.set()

    async def keep_beating(self) -> None:
        """A side task."""
        while True:
            began_at = time.monotonic()
            if await self.beat():
                await self._tell_unheard()
                await self._look_at_calls()
            pause_s = max(0.05, self._settings.heartbeat_s - (time.monotonic() - began_at))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._soon.wait()

    async def _look_at_calls(self) -> None:
        """Truth: a hangup that no nudge told us of, an attachment elsewhere."""
        epochs = {call_id: self._epoch_of(call_id) for call_id in self._sessions.call_ids}
        try:
            records = await self._registry.get_many(list(epochs))
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return
        # all at once: one after the other, a slow registry would keep the next heartbeat waiting past the lease
        await asyncio.gather(*map(self._judge, epochs, records, epochs.values()))

    async def look_after_sleep(self) -> None:
        """A side task: when this process has slept past its lease, its sessions wait with what they say for this."""
        while True:
            await self._guard.slept.wait()
            self._log.warning("this process stood still for longer than its lease", calls=len(self._sessions))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AFTER_SLEEP_S):
                    await self._look_at_calls()
            self._guard.go_on()

    async def _look_at(self, call_id: str) -> bool:
        """False if the registry is away."""
        epoch = self._epoch_of(call_id)
        if epoch is None:
            return True
        try:
            record = await self._registry.get(call_id)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return False
        return await self._judge(call_id, record, epoch)

    def _epoch_of(self, call_id: str) -> int | None:
        """Of our attachment; None if the call ends here anyway."""
        session = self._sessions.get(call_id)
        return session.record.epoch if session is not None and session.ending is None else None

    async def _judge(self, call_id: str, record: CallRecord | None, epoch: int | None) -> bool:
        """What follows from the record, asked for when ours was of that epoch. False if the registry is away."""
        session = self._sessions.get(call_id)
        if session is None or session.ending is not None or epoch is None:
            return True
        if record is None:
            return await self._restore(session)
        if not record.is_over:
            if self._sessions.is_attaching(call_id) or session.record.epoch != epoch:
                return True  # a stream is just being attached, which says so itself
            return await self._compare(session, record)
        if record.reason in CONCLUDED and not record.is_hung_up:
            self._outlive(call_id, record.reason)  # its slot stays ours
            return True
        session.is_recorded = True
        if record.reason == Reason.OPERATOR:
            session.end(Reason.OPERATOR)
        else:
            session.end(Reason.CALLER_HUNG_UP, record.reason)
        return True

    async def _compare(self, session: Session, record: CallRecord) -> bool:
        """Whose is the call? False if the registry is away."""
        me = self._worker_id
        match claim_on(record, me, session.record.epoch, session.attached_at_ms):
            case Claim.SUPERSEDED:
                self._log.warning("the call is another worker's by now", call_id=record.call_id, to=record.worker_id)
                session.give_up(record.worker_id)
            case Claim.UNTOLD:
                return await self._tell_attachment(session, record, me)
            case Claim.OURS:
                pass
        return True

    async def _tell_attachment(self, session: Session, record: CallRecord, me: str) -> bool:
        """The registry was away, or has lost it, when a stream was attached here. False if it is away."""
        call_id, ours = record.call_id, session.record
        format = {"codec": ours.codec, "sample_rate": ours.sample_rate}
        changes = {"worker_id": me, "seat": self._seat, **format}
        try:
            if record.state is CallState.RINGING:  # answered by a gateway alone, which has not told it yet
                await self._registry.move(call_id, CallEvent.ANSWER, changes)
            moved = await self._registry.move(call_id, CallEvent.ATTACH, changes)
            if moved.moved and moved.record and not self._sessions.is_attaching(call_id):
                session.record = moved.record
                session.attached(moved.record.epoch)
                if not session.stream.is_attached:
                    await self._registry.move(call_id, CallEvent.DETACH, {}, fence=session.fence)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return False
        self._log.info("the registry was told of an attachment", call_id=call_id)
        return True

    async def _restore(self, session: Session) -> bool:
        """The registry has lost a living call: it was restarted empty. False if it is away."""
        state = CallState.ACTIVE if session.stream.is_attached else CallState.DETACHED
        began_ms = session.record.first_attached_at_ms or self._registry.now_ms() - round(session.age_s * 1000)
        since_ms = session.record.seated_at_ms if session.record.seat == self._seat else session.attached_at_ms
        here = {"worker_id": self._worker_id, "seat": self._seat, "seated_at_ms": since_ms}
        record = session.record.with_changes({"state": state, "first_attached_at_ms": began_ms, **here})
        try:
            was_lost = await self._registry.restore(record)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return False
        if was_lost:
            self._log.warning("the registry had lost a living call", call_id=record.call_id)
            session.stream.watch.conversation_changed.set()  # its checkpoint is lost, too
        return True

    async def recent_lengths(self) -> Lengths | None:
        """How long calls of each bot lasted lately, in the whole fleet; None if the registry is away."""
        try:
            return lengths_of(await self._registry.recent_calls(RECENT_CALLS))
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return None

    async def leave(self) -> None:
        """Say goodbye to the fleet.

        A worker whose endings are not all told only falls silent: its slots are how the reaper finds these calls.
        """
        try:
            if await self._tell_unheard() and not len(self._sessions):
                await self._registry.remove_worker(self._worker_id)
                return
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
        self._log.warning("left without a goodbye; this worker's lease will end by itself")

    def _outlive(self, call_id: str, reason: str) -> None:
        """A lease that could not be renewed never ends a live call."""
        if call_id not in self._outlived:
            self._outlived.add(call_id)
            self._log.warning("taken for lost while the registry was away; goes on", call_id=call_id, reason=reason)

    async def hand_over(self, session: Session) -> bool:
        """Give the call to another worker, if one has room: its slot there is sure before anything ends here.

        From then on its stream is routed there, whoever brings it. Fenced: the call may be another worker's by now.
        """
        call_id, me = session.record.call_id, self._worker_id
        try:
            held = await self._registry.reserve(call_id, HAND_OVER_HOLD_MS, {me}, is_live=True, bot=session.record.bot)
            if held is None:
                return False
            there = {"worker_id": held.worker_id}
            moved = await self._registry.move(call_id, CallEvent.DETACH, there, fence=session.fence)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return False
        if not moved.moved:
            return False
        self._log.info("handed over", call_id=call_id, to=held.worker_id)
        session.hand_over(held.worker_id)
        return True

    # -- nudges

    async def listen(self) -> None:
        """A side task: hangups and orders reach us sooner than with the next heartbeat."""
        while True:
            try:
                async for message in self._registry.nudges(self._worker_id):
                    await self._nudged(message)
            except RegistryAway:
                self._meter.count(REGISTRY_ERRORS)
            await asyncio.sleep(self._settings.heartbeat_s)

    async def _nudged(self, message: str) -> None:
        try:
            told = json.loads(message)
            if "order" in told:
                return self.beat_soon()
            call_id = told["call_id"]
        except (ValueError, TypeError, KeyError):
            self._log.warning("a nudge could not be read")
            return None
        await self._look_at(str(call_id))
        return None

    # -- timelines

    async def keep_noting(self) -> None:
        """A side task: what the sessions saw, in batches, off their way."""
        while True:
            await asyncio.sleep(FLUSH_S)
            for session in self._sessions.all():
                await self.note(session.record.call_id, session.stream.watch)
                await self._tell_stream(session)
                await self._tell_beginning(session)

    async def _tell_stream(self, session: Session) -> None:
        """The ids that the carrier gave, once for each stream."""
        stream = session.stream
        if stream.stream_id == session.record.stream_id:
            return
        ids = {"stream_id": stream.stream_id, "carrier_call_id": stream.carrier_call_id}
        try:
            await self._registry.patch(session.record.call_id, ids)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
        else:
            session.record = session.record.with_changes(ids)

    async def _tell_beginning(self, session: Session) -> None:
        """That the call has gone on in a session after its first, once."""
        if session.is_beginning_told or session.began_as not in ("resumed", "afresh"):
            return
        counted = getattr(session.record, session.began_as) + 1
        try:
            await self._registry.patch(session.record.call_id, {session.began_as: counted})
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
        else:
            session.is_beginning_told = True

    async def note(self, call_id: str, watch: CallWatch) -> bool:
        """Write what the watch has seen into the call's timeline."""
        entries = watch.take_entries()
        if not entries:
            return True
        try:
            await self._registry.note(call_id, entries)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            watch.put_back(entries)
            return False
        return True

    # -- endings

    async def claim_end(self, session: Session) -> None:
        """Say why the call ends while its stream is still open; the rest follows in `tell_ended`."""
        ending = session.ending
        assert ending is not None
        changes = {"reason": str(ending.reason), "detail": ending.detail}
        try:
            ended = await self._registry.move(session.record.call_id, CallEvent.END, changes, fence=session.fence)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return
        session.is_recorded = ended.moved or ended.before is CallState.ENDED
        if ended.moved:
            self._meter.count(CALLS, result=RESULT_OF[ending.reason], reason=ending.reason)

    async def tell_ended(self, session: Session, ending: Ending) -> None:
        """The session is over: record, timeline, slot, outbox; again with every heartbeat until it is heard."""
        watch = session.stream.watch
        self._outlived.discard(session.record.call_id)
        await self._tell_stream(session)
        await self._tell_beginning(session)
        unheard = UnheardEnding(session.record.call_id, ending, watch.figures(), watch, session.fence)
        if not await self._tell(unheard):
            self._unheard.append(unheard)

    async def tell_after(self, call_id: str, what: str) -> None:
        """Something became of the bot after its call: one line more for the record."""
        try:
            record = await self._registry.get(call_id)
            if record is not None:
                await self._registry.patch(call_id, {"detail": f"{record.detail}; {what}" if record.detail else what})
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)

    async def _tell_unheard(self) -> bool:
        """Whether the registry has heard of all endings now."""
        while self._unheard:
            if not await self._tell(self._unheard[0]):
                return False
            del self._unheard[0]
        return True

    async def _tell(self, over: UnheardEnding) -> bool:
        reason = over.ending.reason
        changes = {"detail": over.ending.detail, "figures": over.figures}
        try:
            ended = await end_call(self._registry, over.call_id, reason, changes, fence=over.fence)
            if not ended.moved and ended.before is CallState.NONE:  # lost with its epoch: it has ended all the same
                ended = await end_call(self._registry, over.call_id, reason, changes)
            if ended.moved:
                self._meter.count(CALLS, result=RESULT_OF[reason], reason=reason)
            elif ended.before is CallState.ENDED:  # we or a hangup were first; the figures are ours all the same
                await self._registry.patch(over.call_id, {"figures": over.figures})
            else:
                self._log.warning("the call lives on with another worker", call_id=over.call_id)
                return True
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return False
        over.watch.note_ended(reason)
        return await self.note(over.call_id, over.watch)
