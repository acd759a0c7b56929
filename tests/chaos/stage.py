"""Where one scene is played: callers come on, wait at the gate, the scene does its worst, and the curtain falls.

async with stage.calls(8) as callers:     # all have told the bot who they are
    await stage.hit_worker(signal.SIGKILL)
    await stage.heard_again(callers)
# on leaving, the gate opens: everybody asks whether the bot still knows, says goodbye, and is judged
"""

import asyncio
import contextlib
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from tests.chaos.caller import Caller, Manner
from tests.chaos.fleet import ChaosFleet
from tests.chaos.ledger import SceneResult, disagreement
from tests.chaos.truth import Truth
from tests.fakes.tones import CALLERS

AT_GATE_S = 45.0
ENDS_S = 120.0
FREE_AFTER_CRASH_S = 15.0
SILENT, LISTENING = Manner(), Manner(hears_story=True)
Say = Callable[[str], None]


class Stage:
    """One scene's calls, and what was done to them."""

    def __init__(self, fleet: ChaosFleet, truth: Truth, result: SceneResult, rng: random.Random, say: Say) -> None:
        self.fleet = fleet
        self.result = result
        self.rng = rng
        self.say = say
        self.slots_free_within_s = FREE_AFTER_CRASH_S
        self._truth = truth
        self._is_open = False
        self._numbers = itertools.cycle(rng.sample(range(CALLERS), CALLERS))
        self._tasks: list[asyncio.Task[None]] = []

    # -- callers

    def place(self, manner: Manner, call_id: str = "") -> Caller:
        """One more call, at once."""
        caller = Caller(next(self._numbers), self.result.name, self.fleet.path, manner, lambda: self._is_open)
        if call_id:
            caller.call_id = call_id
        self.result.callers.append(caller)
        self._tasks.append(asyncio.create_task(self._live(caller), name=caller.call_id))
        return caller

    async def _live(self, caller: Caller) -> None:
        if caller.manner.asks_twice:
            await self.ask_twice(caller)
        try:
            await caller.call(self.fleet.fleet.urls)
        except Exception as error:  # the ledger must not lose a call to a fault of the suite's own
            caller.report.errors.append(f"the simulator failed: {error!r}")
        finally:
            caller.has_ended = True

    async def ask_twice(self, caller: Caller) -> None:
        """The carrier's primary and fallback ask at the same moment; then it asks once more and connects."""
        fields = {"call_uuid": caller.call_id, "from": caller.from_number, "to": "+918047000000"}
        urls = self.fleet.fleet.urls
        asked = [
            self.fleet.http.post(url, json={**fields, "direction": "INBOUND"}) for url in (urls.answer, urls.fallback)
        ]
        await asyncio.gather(*asked, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def calls(
        self, count: int, manners: Sequence[Manner] = (), *, over_s: float = 1.0
    ) -> AsyncIterator[list[Caller]]:
        """So many callers, come within `over_s`; half of them listen to a story unless other manners are given."""
        given = manners or (SILENT, LISTENING, LISTENING, SILENT)  # two workers in turn: each gets both kinds
        callers = []
        for manner, _ in zip(itertools.cycle(given), range(count), strict=False):
            callers.append(self.place(manner))
            await asyncio.sleep(over_s / count)
        await self.until(lambda: all(caller.is_at_gate or caller.has_ended for caller in callers), AT_GATE_S)
        await asyncio.sleep(0.3)
        try:
            yield callers
        finally:
            self.open_gate()
        await self.everybody_leaves()

    def open_gate(self) -> None:
        self._is_open = True

    def close_gate(self) -> None:
        self._is_open = False

    async def everybody_leaves(self) -> None:
        """Until all calls of the scene have ended; what has not by then has failed."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=ENDS_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._tasks.clear()

    # -- faults

    async def where_calls_are(self) -> dict[str, str]:
        """Worker processes by call id, of the calls that are live now."""
        records = await self.fleet.calls()
        return {
            call_id: self.fleet.name_of(record["worker_id"])
            for call_id, record in records.items()
            if record["state"] in ("active", "detached")
        }

    async def busiest_worker(self) -> str:
        where = await self.where_calls_are()
        ours = Counter(where.get(caller.call_id, "") for caller in self.result.callers if not caller.has_ended)
        del ours[""]
        return ours.most_common(1)[0][0] if ours else "worker-1"

    async def callers_at(self, worker: str) -> list[Caller]:
        where = await self.where_calls_are()
        return [c for c in self.result.callers if where.get(c.call_id) == worker and not c.has_ended]

    async def hit_worker(self, sig: signal.Signals, name: str = "") -> tuple[str, list[Caller]]:
        """Send a signal to a worker (the busiest); its calls are hit."""
        name = name or await self.busiest_worker()
        hit = await self.callers_at(name)
        at_ms = self.fleet.signal(name, sig)
        self.mark(hit, at_ms)
        self.say(f"{signal.Signals(sig).name} to {name} with {len(hit)} calls")
        return name, hit

    def mark(self, callers: Iterable[Caller], at_ms: int = 0) -> None:
        """These calls lose their session now."""
        for caller in callers:
            caller.fault_at_ms = at_ms or now_ms()

    async def settle(self, seconds: float) -> None:
        """Let new sessions begin, and be heard."""
        await asyncio.sleep(seconds)

    # -- judgement

    async def until(self, is_so: Callable[[], bool], within_s: float) -> bool:
        deadline = time.monotonic() + within_s
        while not is_so():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    def expect(self, is_kept: bool, what: str) -> None:
        """A promise of the scene's own."""
        if not is_kept:
            self.result.broken.append(what)
            self.say(f"BROKEN: {what}")

    def note(self, **notes: Any) -> None:
        self.result.notes |= notes

    def expect_unnoticed(self, callers: Iterable[Caller], from_ms: int, to_ms: int, limit_ms: float = 400) -> None:
        """Those who heard a story between two wall times heard no gap."""
        gaps = {
            c.call_id: gap
            for c in callers
            if c.manner.hears_story
            and c.report.started_at_ms
            and (gap := c.longest_silence_ms(from_ms, to_ms)) > limit_ms
        }
        self.expect(
            not gaps, f"live calls noticed: {len(gaps)} gaps, the longest {max(gaps.values(), default=0):.0f} ms"
        )

    async def curtain(self) -> None:
        """After the last call: is anything left behind?"""
        await self.everybody_leaves()
        healed = await self.fleet.heal()
        if healed:
            self.note(started_again=healed)
        self.result.leaked_slots, self.result.freed_s = await self._truth.wait_for_slots(self.slots_free_within_s)
        self.result.drift = await self._truth.drift()
        await self._compare_with_records()
        self.result.over_admitted = self._truth.take_over_admitted()

    async def _compare_with_records(self) -> None:
        """A record that was lost with Redis says nothing."""
        records = await self.fleet.calls()
        told = (disagreement(c, records[c.call_id]) for c in self.result.callers if c.call_id in records)
        self.result.disagreements += filter(None, told)


def now_ms() -> int:
    return time.time_ns() // 1_000_000
