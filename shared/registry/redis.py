"""The fleet's registry: Redis, with a short Lua script for whatever must be one step.

Policy stays in Python: scripts are told the time, the moves of an event, the ends of leases. No connection is
made before the first command; a command that is not answered in time is `RegistryAway`, and none is repeated.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from shared.calls.record import SCHEMA, CallRecord, own_number
from shared.calls.state import MOVES, CallEvent, CallState
from shared.fleet.death import DeathNote, decode_note, encode_note
from shared.fleet.quarantine import CALLS_NEEDED, MOST_BUILDS, MOST_CALLS, WITHIN_MS, Quarantine
from shared.fleet.selector import PROBATION_MS
from shared.fleet.worker import Heard, Order, WorkerRecord, WorkerState, WorkerView
from shared.registry import keys
from shared.registry.address import RedisAddress, parse_address
from shared.registry.connection import Connection, Run
from shared.registry.contract import (
    LINE_KEPT_MS,
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
from shared.registry.slots import FORGOTTEN_AFTER_MS
from shared.registry.stored import (
    ONCE,
    as_known,
    decode_entries,
    decode_exposed,
    decode_order,
    decode_quarantine,
    decode_record,
    decode_worker,
    encode_changes,
    encode_entry,
    encode_exposed,
    encode_order,
    encode_record,
    encode_worker,
)

T = TypeVar("T")

PAGE = 500  # calls looked at in one step of retention
AT_ONCE = 100  # scripts in one pipeline: their answers have to come within one timeout
LIST_AFTER_S, LIST_AGAIN_S = 0.02, 1.0
MOST_UNLISTED = 10_000  # that many calls were answered while Redis was away
PIECE = 16  # records read with one question: decoding them holds up the event loop for a millisecond or two


class RedisRegistry:
    """See `contract.Registry`. Timeouts in seconds: one answer, one connect, the wait for a free connection."""

    def __init__(
        self,
        address: RedisAddress,
        *,
        clock: Callable[[], int] = wall_clock_ms,
        settle_ms: int = 0,
        command_timeout_s: float = 0.3,
        connect_timeout_s: float = 0.3,
        wait_s: float = 1.0,
        max_connections: int = 32,
    ) -> None:
        self._clock = clock
        self.settle_ms = settle_ms
        self._offset_ms = 0
        self._unsure_ms = math.inf  # the offset may be off by so much
        self._connection = Connection(
            address,
            command_timeout_s=command_timeout_s,
            connect_timeout_s=connect_timeout_s,
            wait_s=wait_s,
            max_connections=max_connections,
        )
        self._unlisted: dict[str, int] = {}  # new calls, and when they were created
        self._listing: asyncio.Task[None] | None = None
        self._redis = self._connection.redis
        self._scripts = self._connection.scripts
        self._ask = self._connection.ask
        self._run = self._connection.run

    @classmethod
    def connect(cls, url: str, **options: Any) -> "RedisRegistry":
        """A registry at this REDIS_URL; `options` as for the class. Connects at the first command."""
        return cls(parse_address(url), **options)

    # -- time and health
    def now_ms(self) -> int:
        return self._clock() + self._offset_ms

    @property
    def _simulated_ms(self) -> int | str:
        """The time of a simulation, for scripts that else ask Redis for its own."""
        return "" if self._clock is wall_clock_ms else self.now_ms()

    async def sync_clock(self) -> int:
        asked_ms = self._clock()
        seconds, microseconds = await self._ask(self._redis.time)
        answered_ms = self._clock()
        offset_ms = int(seconds) * 1000 + int(microseconds) // 1000 - (asked_ms + answered_ms) // 2
        unsure_ms = (answered_ms - asked_ms) // 2 + 1  # both clocks are read in whole milliseconds
        # a slow answer (a busy start, say) knows little: what was known stands for as long as both may be true
        if unsure_ms <= self._unsure_ms or abs(offset_ms - self._offset_ms) > unsure_ms + self._unsure_ms:
            self._offset_ms, self._unsure_ms = offset_ms, unsure_ms
        return self._offset_ms

    # -- the fleet
    async def heartbeat(self, worker: WorkerRecord, live_calls: Sequence[str], lease_ms: int) -> Heard:
        now_ms = self.now_ms()
        order, reconnects, slots = await self._run(
            self._scripts.heartbeat,
            [
                *_FLEET,
                keys.HOLDERS,
                keys.slots(worker.worker_id),
                keys.ORDERS,
                keys.RECONNECTS,
                keys.SINCE,
                keys.LISTING,
            ],
            worker.worker_id,
            encode_worker(worker),
            worker.offered,
            "1" if worker.state is WorkerState.SERVING else "0",
            now_ms,
            now_ms + int(lease_ms),
            keys.FLEET_TTL_MS,
            now_ms - FORGOTTEN_AFTER_MS,
            keys.SLOTS_OF,
            "0" if worker.bots is None else "1",
            *live_calls,
        )
        return Heard(frozenset(slots), decode_order(order, worker), bool(reconnects))

    async def give_order(self, worker: WorkerRecord, order: Order) -> None:
        async def give() -> None:
            await _as_awaitable(self._redis.hset(keys.ORDERS, worker.worker_id, encode_order(order, worker)))
            await self._redis.pexpire(keys.ORDERS, keys.FLEET_TTL_MS)

        await self._ask(give)

    async def saw_reconnect(self) -> None:
        await self._ask(lambda: self._redis.set(keys.RECONNECTS, "1", px=keys.FLEET_TTL_MS))

    async def gateway_heartbeat(self, gateway_id: str, lease_ms: int) -> int:
        now_ms = self.now_ms()
        told = (gateway_id, now_ms, now_ms + int(lease_ms), keys.FLEET_TTL_MS)
        return int(await self._run(self._scripts.gateway_heartbeat, [keys.GATEWAYS], *told))

    async def expose(self, process: Exposed, lease_ms: int) -> None:
        now_ms = self.now_ms()

        async def add() -> None:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.zadd(keys.EXPOSED, {encode_exposed(process): now_ms + int(lease_ms)})
                pipe.zremrangebyscore(keys.EXPOSED, "-inf", now_ms)
                pipe.pexpire(keys.EXPOSED, keys.FLEET_TTL_MS)
                await pipe.execute()

        await self._ask(add)

    async def exposed(self) -> list[Exposed]:
        now_ms = self.now_ms()
        return decode_exposed(await self._ask(lambda: self._redis.zrangebyscore(keys.EXPOSED, f"({now_ms}", "+inf")))

    async def since_ms(self) -> int:
        return int(await self._ask(lambda: _as_awaitable(self._redis.get(keys.SINCE))) or 0)

    async def remove_worker(self, worker_id: str) -> None:
        where = [*_FLEET, keys.HOLDERS, keys.slots(worker_id), keys.ORDERS, keys.LISTING]
        await self._run(self._scripts.remove_worker, where, worker_id)

    async def record_death(self, note: DeathNote) -> None:
        where = keys.death(note.seat)
        await self._ask(lambda: self._redis.set(where, encode_note(note), px=keys.DEATH_TTL_MS))

    async def death_notes(self, seats: Collection[str]) -> Mapping[str, DeathNote]:
        where = [keys.death(seat) for seat in seats]
        stored = await self._ask(lambda: _as_awaitable(self._redis.mget(where))) if where else []
        notes = ((seat, decode_note(text or "")) for seat, text in zip(seats, stored, strict=True))
        return {seat: note for seat, note in notes if note is not None}

    async def workers(self) -> list[WorkerView]:
        flat = await self._run(self._scripts.workers, [keys.WORKERS, keys.LEASES], self.now_ms(), keys.SLOTS_OF)
        views = [
            WorkerView(decode_worker(worker_id, stored or ""), int(used), _ms(lease))
            for worker_id, stored, lease, used in zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
        ]
        return sorted(views, key=lambda view: view.record.worker_id)

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
        now_ms = self.now_ms()
        held = await self._run(
            self._scripts.reserve,
            [*_FLEET, keys.HOLDERS, *_LINE, keys.SINCE, keys.LISTING, keys.QUARANTINE, keys.PROBATION],
            call_id,
            now_ms,
            now_ms + int(hold_ms),
            keys.FLEET_TTL_MS,
            keys.SLOTS_OF,
            keys.NUMBER_OF,
            number,
            -1 if is_live else ceiling,
            "1" if in_turn else "0",
            self.settle_ms,
            bot,
            "1" if is_suspect else "0",
            PROBATION_MS,
            *avoid,
        )
        if held is None:
            return None
        worker_id, stored, expires_at_ms = held
        return Reservation(call_id, worker_id, decode_worker(worker_id, stored or "").address, _ms(expires_at_ms))

    async def occupy(self, call_id: str, worker_id: str, lease_ms: int) -> bool:
        now_ms = self.now_ms()
        return bool(
            await self._run(
                self._scripts.occupy,
                [keys.CAPACITIES, keys.HOLDERS, keys.slots(worker_id)],
                call_id,
                worker_id,
                now_ms,
                now_ms + int(lease_ms),
                keys.FLEET_TTL_MS,
                keys.SLOTS_OF,
            )
        )

    async def count_for(self, number: str, call_id: str) -> None:
        await self._add(keys.number(number), {call_id: self.now_ms()}, keys.FLEET_TTL_MS)

    async def release(self, call_id: str) -> None:
        nudged = keys.nudges(LINE_TOPIC)
        await self._run(self._scripts.release, [keys.HOLDERS, keys.LINE], call_id, keys.SLOTS_OF, nudged)

    async def lapsed_slots(self) -> list[LapsedSlot]:
        flat = await self._run(self._scripts.lapsed_slots, [keys.LEASES], self.now_ms(), keys.SLOTS_OF)
        slots = [
            LapsedSlot(call_id, worker_id, min(_ms(slot_end), _ms(lease_end)))
            for call_id, worker_id, slot_end, lease_end in zip(
                flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True
            )
        ]
        return sorted(slots, key=lambda slot: (slot.worker_id, slot.call_id))

    # -- the line
    async def join_line(
        self, call_id: str, since_ms: int, lease_ms: int, *, number: str = "", ceiling: int = 0, bot: str = ""
    ) -> None:
        until_ms = self.now_ms() + int(lease_ms)
        told = (call_id, int(since_ms), until_ms, ceiling, number, keys.FLEET_TTL_MS, bot)
        await self._run(self._scripts.join_line, _LINE, *told)

    async def keep_line(self, call_ids: Sequence[str], lease_ms: int) -> list[Place]:
        now_ms = self.now_ms()
        times = (now_ms, now_ms + int(lease_ms), now_ms - LINE_KEPT_MS, keys.FLEET_TTL_MS)
        flat = await self._run(self._scripts.keep_line, _LINE, *times, *call_ids)
        return [Place(call_id, _ms(since)) for call_id, since in zip(flat[::2], flat[1::2], strict=True)]

    # -- calls
    async def get(self, call_id: str) -> CallRecord | None:
        return decode_record(call_id, await self._ask(lambda: _as_awaitable(self._redis.hgetall(keys.record(call_id)))))

    async def get_many(self, call_ids: Sequence[str]) -> list[CallRecord | None]:
        found: list[CallRecord | None] = []
        for at in range(0, len(call_ids), PIECE):
            piece = call_ids[at : at + PIECE]
            pipe = self._redis.pipeline(transaction=False)
            for call_id in piece:
                pipe.hgetall(keys.record(call_id))
            found += map(decode_record, piece, await self._ask(pipe.execute))
        return found

    async def move(
        self, call_id: str, event: CallEvent, changes: Mapping[str, Any], *, fence: int | None = None
    ) -> Moved:
        now_ms = self.now_ms()
        stored = encode_changes(changes)
        once = {name: stored.pop(name) for name in ONCE & stored.keys()}
        moved, before, flat = await self._run(
            self._scripts.move,
            [keys.record(call_id), keys.checkpoint(call_id)],
            now_ms,
            keys.CALL_TTL_MS,
            "" if fence is None else fence,
            "first_attached_at_ms" if event is CallEvent.ATTACH else "",
            MOST_DEATHS,
            *_moves(event),
            *_flat(stored),
            "",
            *_flat({"schema": str(SCHEMA), "created_at_ms": str(now_ms), **once}),
        )
        state = as_known(CallState, before, CallState.NONE)
        if moved and state is CallState.NONE:
            self._list_soon(call_id, now_ms)
        return Moved(bool(moved), state, decode_record(call_id, _map(flat)))

    async def patch(self, call_id: str, changes: Mapping[str, Any]) -> None:
        stored = encode_changes(changes)
        if stored:
            script, where, told = self._patching(call_id, stored)
            await self._run(script, where, *told)

    async def restore(self, record: CallRecord) -> bool:
        stored = _flat(encode_record(record))
        is_new = await self._run(self._scripts.restore, [keys.record(record.call_id)], keys.CALL_TTL_MS, *stored)
        if is_new:
            self._list_soon(record.call_id, record.created_at_ms or self.now_ms())
            await self.count_for(own_number(record), record.call_id)
        return bool(is_new)

    async def save_checkpoint(self, call_id: str, checkpoint: str, epoch: int) -> bool:
        where = [keys.record(call_id), keys.checkpoint(call_id)]
        given = (epoch, checkpoint, keys.CHECKPOINT_TTL_MS, str(CallState.ENDED))
        return bool(await self._run(self._scripts.save_checkpoint, where, *given))

    async def load_checkpoint(self, call_id: str) -> str | None:
        kept: str | None = await self._ask(lambda: _as_awaitable(self._redis.get(keys.checkpoint(call_id))))
        return kept

    async def recent_calls(self, limit: int = 50, before_ms: int | None = None) -> list[CallRecord]:
        latest = "+inf" if before_ms is None else f"({before_ms}"
        await self._list()
        newest = await self._ask(
            lambda: self._redis.zrevrangebyscore(keys.CALLS, latest, "-inf", start=0, num=max(0, limit))
        )
        return [record for record in await self.get_many(newest) if record is not None]

    async def note(self, call_id: str, entries: Sequence[TimelineEntry]) -> None:
        if entries:
            script, where, told = self._noting(call_id, entries)
            await self._run(script, where, *told)

    async def write_down(
        self, entries: Mapping[str, Sequence[TimelineEntry]], figures: Mapping[str, Mapping[str, float]]
    ) -> None:
        runs = [self._noting(call_id, lines) for call_id, lines in entries.items()]
        runs += [self._patching(call_id, encode_changes({"figures": values})) for call_id, values in figures.items()]
        for at in range(0, len(runs), AT_ONCE):
            await self._connection.run_all(runs[at : at + AT_ONCE])

    async def timeline(self, call_id: str, after: int = 0) -> list[TimelineEntry]:
        where = [keys.timeline(call_id), keys.noted(call_id)]
        return decode_entries(await self._run(self._scripts.timeline, where, after))

    # -- endings
    async def enqueue_ending(self, call_id: str) -> None:
        await self._run(
            self._scripts.enqueue_ending,
            [keys.HOLDERS, keys.OUTBOX, keys.CALLS, *_LINE],
            call_id,
            self.now_ms(),
            keys.CALL_TTL_MS,
            keys.SLOTS_OF,
            keys.nudges(LINE_TOPIC),
        )

    async def outbox(self, limit: int = 100) -> list[str]:
        waiting: list[str] = await self._ask(lambda: self._redis.zrange(keys.OUTBOX, 0, limit - 1))
        return waiting if limit > 0 else []

    async def close_record(self, call_id: str) -> CallRecord | None:
        state, now_ms = str(CallState.ENDED), self.now_ms()
        flat = await self._run(self._scripts.close_record, [keys.record(call_id)], now_ms, keys.CALL_TTL_MS, state)
        return decode_record(call_id, _map(flat)) if flat else None

    async def outbox_done(self, call_ids: Sequence[str]) -> None:
        if call_ids:
            await self._ask(lambda: self._redis.zrem(keys.OUTBOX, *call_ids))

    async def forget_before(self, at_ms: int) -> int:
        forgotten, passed_over = 0, 0
        while old := await self._created_before(at_ms, passed_over):
            gone = []
            for call_id in old:
                where = [
                    keys.record(call_id),
                    keys.timeline(call_id),
                    keys.noted(call_id),
                    keys.checkpoint(call_id),
                ]
                dropped = await self._run(self._scripts.forget, where, str(CallState.ENDED))
                forgotten += dropped == 1
                if dropped >= 0:
                    gone.append(call_id)
            passed_over += len(old) - len(gone)
            if gone:
                await self._ask(lambda ids=gone: self._redis.zrem(keys.CALLS, *ids))  # type: ignore[misc]
        return forgotten

    # -- bots that kill workers
    async def convict(self, call_id: str, bot: str, build: str) -> Quarantine | None:
        limits = (WITHIN_MS, CALLS_NEEDED, MOST_BUILDS, MOST_CALLS, keys.FLEET_TTL_MS)
        told = await self._run(self._scripts.convict, _BOTS, call_id, bot, build, *limits, self._simulated_ms)
        return decode_quarantine(bot, told) if told else None

    async def quarantined(self) -> list[Quarantine]:
        async def look() -> dict[str, str]:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hgetall(keys.QUARANTINE)
                pipe.pexpire(keys.QUARANTINE, keys.FLEET_TTL_MS)  # it does not end by itself while anybody asks
                stored: dict[str, str] = (await pipe.execute())[0]
                return stored

        stored = await self._ask(look)
        return [decode_quarantine(bot, stored[bot]) for bot in sorted(stored)]

    async def release_bot(self, bot: str) -> bool:
        return bool(await self._run(self._scripts.release_bot, _BOTS, bot))

    # -- nudges
    async def nudge(self, topic: str, message: str) -> None:
        await self._ask(lambda: self._redis.publish(keys.nudges(topic), message))

    def nudges(self, topic: str) -> AsyncIterator[str]:
        """Subscribes when the first message is asked for."""
        return self._connection.listen(keys.nudges(topic))

    async def close(self) -> None:
        await self._list()
        if self._listing is not None:
            self._listing.cancel()
        await self._connection.close()

    def _list_soon(self, call_id: str, created_at_ms: int) -> None:
        """List a new call among the recent ones, with others that come meanwhile: a caller waits for what comes of his
        call, nobody for the list. If it is lost, the call's ending lists it."""
        if len(self._unlisted) < MOST_UNLISTED:
            self._unlisted[call_id] = created_at_ms
        if self._listing is None or self._listing.done():
            self._listing = asyncio.create_task(self._list_later(), name="list calls")

    async def _list_later(self) -> None:
        while self._unlisted:
            await asyncio.sleep(LIST_AFTER_S)
            waiting = len(self._unlisted)
            await self._list()
            if len(self._unlisted) >= waiting:  # Redis is away
                await asyncio.sleep(LIST_AGAIN_S)

    async def _list(self) -> None:
        """All calls that came through us: before anybody reads the list, and in the end."""
        calls = dict(self._unlisted)
        if not calls:
            return
        with contextlib.suppress(RegistryAway):
            await self._add(keys.CALLS, calls, keys.CALL_TTL_MS)
            for call_id in calls:
                self._unlisted.pop(call_id, None)

    async def _add(self, key: str, members: Mapping[str, int], ttl_ms: int) -> None:
        """Those of the members that a sorted set does not have, with their times."""

        async def add() -> None:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.zadd(key, dict(members), nx=True)
                pipe.pexpire(key, ttl_ms)
                await pipe.execute()

        await self._ask(add)

    def _noting(self, call_id: str, entries: Sequence[TimelineEntry]) -> Run:
        where = [keys.timeline(call_id), keys.noted(call_id)]
        return self._scripts.note, where, [keys.CALL_TTL_MS, TIMELINE_ENTRIES, *map(encode_entry, entries)]

    def _patching(self, call_id: str, stored: Mapping[str, str]) -> Run:
        return self._scripts.patch, [keys.record(call_id)], [keys.CALL_TTL_MS, *_flat(stored)]

    async def _created_before(self, at_ms: int, passed_over: int) -> list[str]:
        await self._list()
        found: list[str] = await self._ask(
            lambda: self._redis.zrangebyscore(keys.CALLS, "-inf", f"({at_ms}", start=passed_over, num=PAGE)
        )
        return found


_FLEET = (keys.WORKERS, keys.CAPACITIES, keys.LEASES, keys.SERVING)
_LINE = (keys.LINE, keys.PLACES, keys.LINE_BOTS)
_BOTS = (keys.CONVICTIONS, keys.QUARANTINE)


def _moves(event: CallEvent) -> list[str]:
    """The moves of an event as move.lua is told them: their number, then from, to, stamped field."""
    told = [str(len(MOVES[event]))]
    for before, after in MOVES[event].items():
        told += [str(before), str(after), "ended_at_ms" if after is CallState.ENDED else ""]
    return told


def _as_awaitable(answer: Awaitable[T] | T) -> Awaitable[T]:
    """What redis-py's types call either, because its two clients share them, is always awaitable here."""
    return cast(Awaitable[T], answer)


def _flat(pairs: Mapping[str, str]) -> Iterable[str]:
    return (part for pair in pairs.items() for part in pair)


def _map(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _ms(score: str) -> int:
    """A score as whole milliseconds; Redis prints large ones as 1.7e+12 at times."""
    return int(float(score))
