"""The in-memory twin of the Redis registry: for tests, and for whoever needs no fleet.

One event loop, no threads: a method that does not await is atomic. Records are kept as the same flat maps that
Redis holds, so that what is lost or changed by writing down is lost or changed here as well.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any

from shared.calls.record import SCHEMA, CallRecord, own_number
from shared.calls.state import MOVES, CallEvent, CallState
from shared.fleet.death import DeathNote, decode_note, encode_note
from shared.fleet.quarantine import Quarantine
from shared.fleet.worker import Heard, Order, WorkerRecord, WorkerView
from shared.registry import keys
from shared.registry.contract import (
    LINE_TOPIC,
    MOST_DEATHS,
    TIMELINE_ENTRIES,
    Exposed,
    LapsedSlot,
    Moved,
    Place,
    RegistryAway,
    Reservation,
    TimelineEntry,
    wall_clock_ms,
)
from shared.registry.convictions import Convictions
from shared.registry.line import Line, Waiting
from shared.registry.slots import Slots
from shared.registry.stored import (
    ONCE,
    as_known,
    decode_entries,
    decode_exposed,
    decode_order,
    decode_record,
    encode_changes,
    encode_entry,
    encode_exposed,
    encode_order,
    encode_record,
)


class MemoryRegistry:
    """See `contract.Registry`. `is_away = True` makes everything raise `RegistryAway`, as a lost Redis does."""

    def __init__(self, clock: Callable[[], int] = wall_clock_ms, *, settle_ms: int = 0) -> None:
        self.is_away = False
        self.settle_ms = settle_ms
        self._clock = clock
        self._slots = Slots()
        self._orders: dict[str, str] = {}
        self._reconnects = False
        self._exposed: dict[str, int] = {}
        self._deaths: dict[str, tuple[str, int]] = {}  # seat → its note, and when that is forgotten
        self._line = Line()
        self._convictions = Convictions()
        self._calls: dict[str, dict[str, str]] = {}
        self._created: dict[str, int] = {}  # the index of calls: id → when it was first heard of
        self._checkpoints: dict[str, str] = {}
        self._outbox: dict[str, int] = {}
        self._timelines: dict[str, list[str]] = {}
        self._noted: dict[str, int] = {}  # entries ever noted, the dropped ones too
        self._listeners: defaultdict[str, list[asyncio.Queue[str | None]]] = defaultdict(list)

    # -- time and health
    def now_ms(self) -> int:
        return self._clock()

    async def sync_clock(self) -> int:
        self._check()
        return 0  # the registry's time is this process' own

    # -- the fleet
    async def heartbeat(self, worker: WorkerRecord, live_calls: Sequence[str], lease_ms: int) -> Heard:
        self._check()
        self._slots.beat(worker, live_calls, self.now_ms(), self.now_ms() + lease_ms)
        held = self._slots.held_by(worker.worker_id, self.now_ms())
        return Heard(held, decode_order(self._orders.get(worker.worker_id, ""), worker), self._reconnects)

    async def give_order(self, worker: WorkerRecord, order: Order) -> None:
        self._check()
        self._orders[worker.worker_id] = encode_order(order, worker)

    async def saw_reconnect(self) -> None:
        self._check()
        self._reconnects = True

    async def gateway_heartbeat(self, gateway_id: str, lease_ms: int) -> int:
        self._check()
        return self._slots.beat_gateway(gateway_id, self.now_ms(), self.now_ms() + lease_ms)

    async def expose(self, process: Exposed, lease_ms: int) -> None:
        self._check()
        self._exposed[encode_exposed(process)] = self.now_ms() + lease_ms

    async def exposed(self) -> list[Exposed]:
        self._check()
        return decode_exposed(stored for stored, until_ms in self._exposed.items() if self.now_ms() < until_ms)

    async def since_ms(self) -> int:
        self._check()
        return self._slots.since_ms

    async def remove_worker(self, worker_id: str) -> None:
        self._check()
        self._slots.remove_worker(worker_id)
        self._orders.pop(worker_id, None)

    async def record_death(self, note: DeathNote) -> None:
        self._check()
        self._deaths[note.seat] = encode_note(note), self.now_ms() + keys.DEATH_TTL_MS

    async def death_notes(self, seats: Collection[str]) -> Mapping[str, DeathNote]:
        self._check()
        stored = {seat: self._deaths[seat] for seat in seats if seat in self._deaths}
        notes = ((seat, decode_note(text)) for seat, (text, until_ms) in stored.items() if self.now_ms() < until_ms)
        return {seat: note for seat, note in notes if note is not None}

    async def workers(self) -> list[WorkerView]:
        self._check()
        return self._slots.views(self.now_ms())

    async def reserve(
        self,
        call_id: str,
        hold_ms: int,
        avoid: Collection[str] = (),
        *,
        number: str = "",
        ceiling: int = 0,
        is_live: bool = False,
        in_turn: bool = False,
        bot: str = "",
        is_suspect: bool = False,
    ) -> Reservation | None:
        self._check()
        now_ms, ceiling = self.now_ms(), -1 if is_live else ceiling
        ahead = self._line.ahead_of(call_id, now_ms) if in_turn else ()
        until_ms = now_ms + hold_ms
        barred = self._convictions.quarantines
        held = self._slots.reserve(
            call_id, now_ms, until_ms, avoid, number, ceiling, ahead, self.settle_ms, bot, barred, is_suspect
        )
        if held is None:
            return None
        self._line.leave(call_id)
        worker_id, expires_at_ms = held
        return Reservation(call_id, worker_id, self._slots.worker(worker_id).address, expires_at_ms)

    async def occupy(self, call_id: str, worker_id: str, lease_ms: int) -> bool:
        self._check()
        return self._slots.occupy(call_id, worker_id, self.now_ms(), self.now_ms() + lease_ms)

    async def count_for(self, number: str, call_id: str) -> None:
        self._check()
        self._slots.count_for(number, call_id)

    async def release(self, call_id: str) -> None:
        self._check()
        self._give_back(call_id)

    async def lapsed_slots(self) -> list[LapsedSlot]:
        self._check()
        return self._slots.lapsed(self.now_ms())

    # -- the line
    async def join_line(
        self, call_id: str, since_ms: int, lease_ms: int, *, number: str = "", ceiling: int = 0, bot: str = ""
    ) -> None:
        self._check()
        self._line.join(call_id, Waiting(since_ms, self.now_ms() + lease_ms, number, ceiling, bot))

    async def keep_line(self, call_ids: Sequence[str], lease_ms: int) -> list[Place]:
        self._check()
        return self._line.keep(call_ids, self.now_ms(), self.now_ms() + lease_ms)

    # -- calls
    async def get(self, call_id: str) -> CallRecord | None:
        self._check()
        return decode_record(call_id, self._calls.get(call_id, {}))

    async def get_many(self, call_ids: Sequence[str]) -> list[CallRecord | None]:
        return [await self.get(call_id) for call_id in call_ids]

    async def move(
        self, call_id: str, event: CallEvent, changes: Mapping[str, Any], *, fence: int | None = None
    ) -> Moved:
        self._check()
        stored = encode_changes(changes)
        call = self._calls.get(call_id, {})
        before = as_known(CallState, call.get("state", CallState.NONE), CallState.NONE)
        after = MOVES[event].get(before) if not call or call["state"] == before else None
        epoch = int(call.get("epoch", 0))
        if after is None or fence not in (None, epoch):
            return Moved(False, before, decode_record(call_id, call))
        now_ms = self.now_ms()
        earlier = call
        call = {**call, **stored, **{name: call[name] for name in ONCE & call.keys()}, "state": str(after)}
        call.setdefault("schema", str(SCHEMA))
        call.setdefault("created_at_ms", str(now_ms))
        if event is CallEvent.ATTACH:
            call["epoch"] = str(max(now_ms, epoch + 1))
            call["attachments"] = str(int(call.get("attachments", 0)) + 1)
            call.setdefault("first_attached_at_ms", str(now_ms))
            if call.get("seat") != earlier.get("seat"):
                call |= _seat_left(earlier, now_ms)
        if after is CallState.ENDED:
            call.setdefault("ended_at_ms", str(now_ms))
            self._checkpoints.pop(call_id, None)
        self._calls[call_id] = call
        self._created.setdefault(call_id, now_ms)
        return Moved(True, before, decode_record(call_id, call))

    async def patch(self, call_id: str, changes: Mapping[str, Any]) -> None:
        self._check()
        stored = encode_changes(changes)
        if call_id in self._calls:
            self._calls[call_id] |= stored

    async def restore(self, record: CallRecord) -> bool:
        self._check()
        if record.call_id in self._calls:
            return False
        self._calls[record.call_id] = encode_record(record)
        self._created.setdefault(record.call_id, record.created_at_ms or self.now_ms())
        self._slots.count_for(own_number(record), record.call_id)
        return True

    async def save_checkpoint(self, call_id: str, checkpoint: str, epoch: int) -> bool:
        self._check()
        call = self._calls.get(call_id, {})
        if not call or call["state"] == CallState.ENDED or call.get("epoch") != str(epoch):
            return False
        self._checkpoints[call_id] = checkpoint
        return True

    async def load_checkpoint(self, call_id: str) -> str | None:
        self._check()
        return self._checkpoints.get(call_id)

    async def recent_calls(self, limit: int = 50, before_ms: int | None = None) -> list[CallRecord]:
        self._check()
        asked = [call_id for call_id, at_ms in self._created.items() if before_ms is None or at_ms < before_ms]
        newest = sorted(asked, key=lambda call_id: (self._created[call_id], call_id), reverse=True)[: max(0, limit)]
        return [record for call_id in newest if (record := decode_record(call_id, self._calls.get(call_id, {})))]

    async def note(self, call_id: str, entries: Sequence[TimelineEntry]) -> None:
        self._check()
        kept = self._timelines.setdefault(call_id, [])
        kept += [encode_entry(entry) for entry in entries]
        del kept[:-TIMELINE_ENTRIES]
        self._noted[call_id] = self._noted.get(call_id, 0) + len(entries)

    async def write_down(
        self, entries: Mapping[str, Sequence[TimelineEntry]], figures: Mapping[str, Mapping[str, float]]
    ) -> None:
        for call_id, lines in entries.items():
            await self.note(call_id, lines)
        for call_id, values in figures.items():
            await self.patch(call_id, {"figures": values})

    async def timeline(self, call_id: str, after: int = 0) -> list[TimelineEntry]:
        self._check()
        kept = self._timelines.get(call_id, [])
        dropped = self._noted.get(call_id, 0) - len(kept)
        return decode_entries(kept[max(0, after - dropped) :])

    # -- endings
    async def enqueue_ending(self, call_id: str) -> None:
        self._check()
        self._line.leave(call_id)
        self._give_back(call_id)
        self._outbox.setdefault(call_id, self.now_ms())
        self._created.setdefault(call_id, self.now_ms())

    async def outbox(self, limit: int = 100) -> list[str]:
        self._check()
        return sorted(self._outbox, key=lambda call_id: (self._outbox[call_id], call_id))[:limit]

    async def close_record(self, call_id: str) -> CallRecord | None:
        self._check()
        record = decode_record(call_id, self._calls.get(call_id, {}))
        if record is None or not record.is_over or record.closed_at_ms:
            return None
        self._calls[call_id]["closed_at_ms"] = str(self.now_ms())
        return decode_record(call_id, self._calls[call_id])

    async def outbox_done(self, call_ids: Sequence[str]) -> None:
        self._check()
        for call_id in call_ids:
            self._outbox.pop(call_id, None)

    async def forget_before(self, at_ms: int) -> int:
        self._check()
        old = [call_id for call_id, created_at_ms in self._created.items() if created_at_ms < at_ms]
        forgotten = 0
        for call_id in old:
            call = self._calls.get(call_id)
            if call is None or call["state"] == CallState.ENDED:
                forgotten += call is not None
                for table in (self._calls, self._created, self._timelines, self._noted, self._checkpoints):
                    table.pop(call_id, None)
        return forgotten

    # -- bots that kill workers
    async def convict(self, call_id: str, bot: str, build: str) -> Quarantine | None:
        self._check()
        return self._convictions.convict(call_id, bot, build, self.now_ms())

    async def quarantined(self) -> list[Quarantine]:
        self._check()
        return sorted(self._convictions.quarantines.values(), key=lambda quarantine: quarantine.bot)

    async def release_bot(self, bot: str) -> bool:
        self._check()
        return self._convictions.release(bot)

    # -- nudges
    async def nudge(self, topic: str, message: str) -> None:
        self._check()
        for listener in self._listeners[topic]:
            listener.put_nowait(message)

    async def nudges(self, topic: str) -> AsyncIterator[str]:
        self._check()
        listener: asyncio.Queue[str | None] = asyncio.Queue()
        self._listeners[topic].append(listener)
        try:
            while (message := await listener.get()) is not None:
                yield message
            raise RegistryAway("the registry was closed")
        finally:
            self._listeners[topic].remove(listener)

    async def close(self) -> None:
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.put_nowait(None)

    def _give_back(self, call_id: str) -> None:
        """A slot, if the call has one; who waits in line hears of it."""
        if self._slots.release(call_id) and self._line:
            for listener in self._listeners[LINE_TOPIC]:
                listener.put_nowait("")

    def _check(self) -> None:
        if self.is_away:
            raise RegistryAway("the registry is away")


def _seat_left(call: Mapping[str, str], now_ms: int) -> dict[str, str]:
    """What becomes of the seat that a call had, and when the new one was taken."""
    seat = call.get("seat", "")
    taken = {"seated_at_ms": str(now_ms)}
    if not seat:
        return taken
    left = f"{seat}/{call.get('seated_at_ms', 0)}/{now_ms}"
    return {**taken, "deaths": " ".join([*call.get("deaths", "").split(), left][-MOST_DEATHS:])}
