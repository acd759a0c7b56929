"""The callers who wait at this gateway for a slot: their places in line are kept, and their turns noticed.

Theory of operation. The registry is the truth. With every beat, and sooner when a slot was given back somewhere, the
places of all who wait here are renewed in one step; then slots are asked for, in the order of coming, up to the
first refusal that holds for all behind it. So a full fleet is asked once a beat, however many wait.
A caller who has no place any more was placed or ended by somebody else, or the registry was restarted empty: the
call's record says which. Knows nothing of streams.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from enum import StrEnum

from gateway.admission import end_refused
from gateway.attaching import HOLD_S
from gateway.routing import Route, to_session
from shared.calls.outcome import Reason
from shared.calls.record import HELD_DETAIL, CallRecord, own_number
from shared.calls.state import CallEvent, CallState
from shared.registry import Registry, RegistryAway
from shared.registry.contract import LINE_TOPIC
from shared.settings import GatewaySettings, Numbers
from shared.telemetry.catalogue import HELD_CALLS, REGISTRY_ERRORS
from shared.telemetry.meter import Meter
from shared.tokens import StreamToken


class Gone(StrEnum):
    """Why somebody waits no longer whose turn did not come."""

    ENDED = "ended"  # the call is over
    REPLACED = "replaced"  # its stream came again: that one waits
    HOPELESS = "hopeless"  # its bot is quarantined: it would wait in vain


class Caller:
    """One who waits. `turn` becomes where the call's worker is, or why it waits no longer."""

    def __init__(self, token: StreamToken, record: CallRecord | None, now_ms: int) -> None:
        self.call_id = token.call_id
        self.token = token
        self.record = record  # None while the registry has not told
        self.since_ms = record.created_at_ms if record and record.created_at_ms else now_ms
        self.place = 0  # in the whole line, 1 is the next; 0: not known yet
        self.is_noted = False  # his place, in the call's timeline
        self.unknown_since: float | None = None
        self.turn: asyncio.Future[Route | Gone] = asyncio.get_running_loop().create_future()

    def call(self, turn: Route | Gone) -> None:
        """The wait is over."""
        if not self.turn.done():
            self.turn.set_result(turn)


class Line:
    """Who waits here. `run` and `listen` are side tasks."""

    def __init__(
        self,
        registry: Registry,
        settings: GatewaySettings,
        numbers: Numbers,
        meter: Meter,
        is_barred: Callable[[str], bool] = lambda bot: False,
    ) -> None:
        self._is_barred = is_barred  # a bot whose new calls no worker takes
        self._registry = registry
        self._numbers = numbers
        self._meter = meter
        self._beat_s = settings.heartbeat_s
        self._lease_ms = round(settings.lease_s * 1000)
        self._reconnect_window_s = settings.reconnect_window_s
        self._callers: dict[str, Caller] = {}
        self._some = asyncio.Event()
        self._nudged = asyncio.Event()
        self._leavings: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._callers)

    @property
    def beat_s(self) -> float:
        return self._beat_s

    def longest_wait_s(self, caller: Caller) -> float:
        return self._numbers.plan_for(own_number(caller.record) if caller.record else "").hold_max_s

    @contextlib.contextmanager
    def waiting(self, caller: Caller) -> Iterator[None]:
        """While within, the caller's place is kept, and `caller.turn` may come."""
        if before := self._callers.get(caller.call_id):
            before.call(Gone.REPLACED)
        self._callers[caller.call_id] = caller
        self._look_sooner()
        try:
            yield
        finally:
            if self._is_waiting(caller):
                del self._callers[caller.call_id]
            self._meter.set(HELD_CALLS, len(self))

    def wait_again(self, caller: Caller) -> None:
        """The worker did not take him: his next turn is still to come."""
        caller.turn = asyncio.get_running_loop().create_future()
        if not self._is_waiting(caller):
            caller.call(Gone.REPLACED)
        self._look_sooner()

    def left(self, call_id: str) -> None:
        """The caller's stream closed: nobody waits for him, and if he does not come back, his call is over."""
        leaving = asyncio.create_task(self._leave(call_id), name=f"line:{call_id}:leave")
        self._leavings.add(leaving)
        leaving.add_done_callback(self._leavings.discard)

    async def close(self) -> None:
        """Forget who may still come back: to another gateway."""
        for leaving in self._leavings:
            leaving.cancel()
        await asyncio.gather(*self._leavings, return_exceptions=True)

    # -- side tasks

    async def run(self) -> None:
        """Look at the line with every beat, and when nudged, while anybody waits here."""
        while True:
            await self._some.wait()
            if not self._callers:
                self._some.clear()
                continue
            self._nudged.clear()
            try:
                await self.advance()
            except RegistryAway:
                self._meter.count(REGISTRY_ERRORS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._beat_s):
                    await self._nudged.wait()

    async def listen(self) -> None:
        """Hear that slots were given back."""
        while True:
            try:
                async for _ in self._registry.nudges(LINE_TOPIC):
                    self._nudged.set()
            except RegistryAway:
                self._meter.count(REGISTRY_ERRORS)
            await asyncio.sleep(self._beat_s)

    def _is_waiting(self, caller: Caller) -> bool:
        return self._callers.get(caller.call_id) is caller

    def _look_sooner(self) -> None:
        self._meter.set(HELD_CALLS, len(self))
        self._some.set()
        self._nudged.set()

    # -- one look

    async def advance(self) -> None:
        """Renew the places of all who wait here, and call those whose turn it is. Raises `RegistryAway`."""
        callers = [caller for caller in self._callers.values() if not caller.turn.done()]
        line = await self._registry.keep_line([caller.call_id for caller in callers], self._lease_ms)
        places = {place.call_id: (number, place.since_ms) for number, place in enumerate(line, 1)}
        for caller in callers:
            if caller.call_id in places:
                caller.place, caller.since_ms = places[caller.call_id]
            if caller.call_id not in places or caller.record is None:
                await self._look_at(caller)
        await self._ask_for_slots([caller for caller in callers if not caller.turn.done()])

    async def _look_at(self, caller: Caller) -> None:
        """What became of a call that has no place, or of which we know nothing but its token."""
        record = await self._registry.get(caller.call_id)
        if record is None:
            record = self._lost(caller)
            if record is None:
                return
            await self._registry.restore(record)
        caller.unknown_since = None
        caller.record = record
        match record.state:
            case CallState.ENDED:
                caller.call(Gone.ENDED)
            case CallState.ACTIVE | CallState.DETACHED:
                workers, now_ms = await self._registry.workers(), self._registry.now_ms()
                route = to_session(record.worker_id, workers, now_ms, record.bot)
                if isinstance(route, Route):
                    caller.call(route)
            case _:
                number, ceiling = self._ceiling_of(record)
                await self._registry.join_line(
                    caller.call_id, caller.since_ms, self._lease_ms, number=number, ceiling=ceiling, bot=record.bot
                )

    def _lost(self, caller: Caller) -> CallRecord | None:
        """The record of a call that the registry does not know: it was restarted empty.

        None at first: if the call lives at a worker, that one writes it down with its next heartbeat.
        """
        now = asyncio.get_running_loop().time()
        if caller.unknown_since is None:
            caller.unknown_since = now
        if now - caller.unknown_since < 2 * self._beat_s:
            return None
        token = caller.token
        if self._registry.now_ms() > token.attach_by_ms:
            caller.call(Gone.ENDED)
            return None
        return caller.record or CallRecord(
            token.call_id,
            CallState.RINGING,
            bot=self._numbers.default.bot,
            codec=token.format.codec,
            sample_rate=token.format.sample_rate,
            answered_at_ms=caller.since_ms,
            created_at_ms=caller.since_ms,
            detail=HELD_DETAIL,
        )

    async def _ask_for_slots(self, callers: list[Caller]) -> None:
        """In order of coming. Callers of a number at its ceiling, and of a bot that no worker has room for, stay.

        Those of a quarantined bot do not: what they wait for is somebody's deploy.
        """
        at_their_ceilings: set[str] = set()
        without_room: set[str] = set()
        for caller in sorted(callers, key=lambda caller: (caller.since_ms, caller.call_id.encode())):
            if caller.record is None or not self._is_waiting(caller):
                continue
            number, ceiling = self._ceiling_of(caller.record)
            bot = caller.record.bot
            if self._is_barred(bot):
                caller.call(Gone.HOPELESS)
                continue
            if bot in without_room or (ceiling and number in at_their_ceilings):
                continue
            if not await self._ask_for_slot(caller, number, ceiling, bot):
                if ceiling:
                    at_their_ceilings.add(number)
                else:
                    without_room.add(bot)

    async def _ask_for_slot(self, caller: Caller, number: str, ceiling: int, bot: str) -> bool:
        """False if there is none for him now."""
        held = await self._registry.reserve(
            caller.call_id, round(HOLD_S * 1000), number=number, ceiling=ceiling, in_turn=True, bot=bot
        )
        if held is None:
            return False
        changes = {"worker_id": held.worker_id, "answered_at_ms": self._registry.now_ms(), "detail": ""}
        moved = await self._registry.move(caller.call_id, CallEvent.ANSWER, changes)
        is_over = moved.before is CallState.ENDED
        if is_over or not self._is_waiting(caller):  # he left while we asked
            await self._registry.release(caller.call_id)
        caller.call(Gone.ENDED if is_over else Route(held.worker_id, held.address))
        return True

    def _ceiling_of(self, record: CallRecord) -> tuple[str, int]:
        number = own_number(record)
        return number, self._numbers.plan_for(number).ceiling

    # -- leaving

    async def _leave(self, call_id: str) -> None:
        try:
            if call_id not in self._callers:  # else he is back already
                await self._registry.keep_line([call_id], 0)
            await asyncio.sleep(self._reconnect_window_s)
            if any(place.call_id == call_id for place in await self._registry.keep_line([], 0)):
                return  # he is back, here or at another gateway
            record = await self._registry.get(call_id)
            if record and record.is_held:
                await end_refused(self._registry, self._meter, call_id, Reason.ABANDONED, fence=record.epoch)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)  # housekeeping ends the call
