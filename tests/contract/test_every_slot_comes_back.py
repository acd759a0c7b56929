"""Whatever happens, in whatever order and how often: both registries tell the same, no worker is given more calls than
it has room for, no number more than its ceiling, and in the end every slot comes back.

Workers are as real ones: they name the calls that they hold, take none above their capacity, and are heard of no more
once they crashed, but for a heartbeat that was on its way.
"""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.calls.outcome import Reason
from shared.calls.state import CallEvent
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.registry import MemoryRegistry, RedisRegistry, TimelineEntry, keys
from shared.registry.endings import end_call
from shared.telemetry.meter import Meter
from tests.conftest import Clock, empty
from worker.housekeeping.reaper import Grace, reap

LEASE_MS = 5_000
HOLD_MS = 12_000
BEAT_MS = 2_500
GRACE = Grace(attach_by_ms=14_000, lost_after_ms=8_000, remove_after_ms=50_000)
CAPACITIES = {"w1": 1, "w2": 2, "w3": 2}  # by machine: a worker that is started again has another id
CEILINGS = {"x": 2, "y": 0}
MACHINES = st.sampled_from(list(CAPACITIES))
CALLS = st.sampled_from([f"c{n}" for n in range(6)])

Slots = dict[str, dict[str, int]]  # worker_id → call_id → when the slot ends


class Fleet(RuleBasedStateMachine):
    """Both registries live through the same. Every step may be repeated later, as carriers and networks do."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.generations = dict.fromkeys(CAPACITIES, 1)
        self.down: set[str] = set()
        self.sessions: defaultdict[str, set[str]] = defaultdict(set)  # by worker id: what it holds in memory
        self.mistaken: defaultdict[str, set[str]] = defaultdict(set)  # named by a late heartbeat, though lost by then
        self.beats: list[tuple[WorkerRecord, list[str]]] = []
        self.steps: list[tuple[str, dict[str, Any]]] = []
        self.memory = MemoryRegistry(clock=self.clock)
        self.redis = RedisRegistry.connect(self.url, clock=self.clock, command_timeout_s=10, connect_timeout_s=10)
        self.meter = Meter("housekeeping")

    # -- two registries, one answer

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    def both(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Ask both, and hold their answers together."""
        answers = [self.run(getattr(twin, method)(*args, **kwargs)) for twin in (self.memory, self.redis)]
        assert answers[0] == answers[1], method
        return answers[0]

    def slots(self) -> Slots:
        """Everything that is written down of slots, the same in both."""
        inside = self.memory._slots
        told = {worker_id: ends for worker_id, ends in inside._ends.items() if ends}
        holders, in_redis = self.run(self.slots_in_redis())
        assert in_redis == told
        assert holders == inside._holders
        return told

    async def slots_in_redis(self) -> tuple[dict[str, str], Slots]:
        redis = self.redis._redis
        holders = await redis.hgetall(keys.HOLDERS)
        ends: Slots = {}
        for key in await redis.keys(f"{keys.SLOTS_OF}*"):
            found = await redis.zrange(key, 0, -1, withscores=True)
            ends[as_text(key).removeprefix(keys.SLOTS_OF)] = {as_text(call): int(end) for call, end in found}
        return {as_text(call): as_text(worker_id) for call, worker_id in holders.items()}, ends

    def counted(self) -> dict[str, set[str]]:
        """Calls by worker, of the slots that have not ended."""
        return {
            worker_id: {call for call, end in ends.items() if end > self.clock()}
            for worker_id, ends in self.slots().items()
        }

    # -- workers

    def worker_id(self, machine: str) -> str:
        return f"{machine}.{self.generations[machine]}"

    def step(self, name: str, **how: Any) -> None:
        self.steps.append((name, how))

    def stop_sessions(self, call_id: str, but: str = "") -> None:
        for worker_id, calls in self.sessions.items():
            if worker_id != but:
                calls.discard(call_id)

    @initialize(do_workers_die=st.booleans())
    def start(self, do_workers_die: bool) -> None:
        self.do_workers_die = do_workers_die
        self.run(empty(self.url))
        self.beat_all(set())

    @rule(machine=MACHINES, state=st.sampled_from([*WorkerState, WorkerState.SERVING]))
    def beat(self, machine: str, state: WorkerState) -> None:
        if machine in self.down:
            return
        me = self.worker_id(machine)
        record = WorkerRecord(me, "127.0.0.1:1", state, CAPACITIES[machine])
        self.beats.append((record, sorted(self.sessions[me])))
        self.both("heartbeat", *self.beats[-1], LEASE_MS)

    def beat_all(self, silent: set[str]) -> None:
        for machine in CAPACITIES.keys() - silent:
            self.beat(machine, WorkerState.SERVING)

    @rule(ago=st.integers(0, 8))
    def late_heartbeat(self, ago: int) -> None:
        """One that was on its way for long: of a worker that has died since, or with calls that it has lost."""
        record, calls = self.beats[-1 - ago % len(self.beats)]
        self.mistaken[record.worker_id] |= set(calls) - self.sessions[record.worker_id]
        self.both("heartbeat", record, calls, LEASE_MS)

    @rule(machine=MACHINES)
    def crash(self, machine: str) -> None:
        """It is just not heard of any more."""
        self.sessions[self.worker_id(machine)].clear()
        self.down.add(machine)

    @rule(machine=MACHINES)
    def restart(self, machine: str) -> None:
        """What comes after a crash is another worker."""
        self.crash(machine)
        self.generations[machine] += 1
        self.down.discard(machine)
        self.beat(machine, WorkerState.SERVING)

    @precondition(lambda self: self.clock.at_ms % 5 == 0)  # now and then
    @rule(machine=MACHINES)
    def remove(self, machine: str) -> None:
        """It ended in order."""
        self.crash(machine)
        self.both("remove_worker", self.worker_id(machine))

    # -- calls

    @rule(call_id=CALLS, avoid=st.just(set()) | st.sets(MACHINES), is_answered=st.booleans())
    def reserve(self, call_id: str, avoid: set[str], is_answered: bool) -> None:
        self.step("reserve", call_id=call_id, avoid=avoid, is_answered=is_answered)
        number = "xy"[int(call_id[1:]) % 2]
        before = {worker_id for worker_id, calls in self.counted().items() if call_id in calls}
        held = self.both(
            "reserve", call_id, HOLD_MS, {self.worker_id(m) for m in avoid}, number=number, ceiling=CEILINGS[number]
        )
        if held is None:
            return
        after = self.counted()
        assert call_id in after[held.worker_id]
        if held.worker_id not in before:
            machine = held.worker_id.split(".")[0]
            assert machine not in avoid or held.worker_id != self.worker_id(machine)
            assert len(after[held.worker_id]) <= CAPACITIES[machine], "a slot that is not there was given out"
            placed = [call for calls in after.values() for call in calls if int(call[1:]) % 2 == "xy".index(number)]
            assert not CEILINGS[number] or before or len(placed) <= CEILINGS[number], "above the number's ceiling"
        if is_answered:
            self.both("move", call_id, CallEvent.ANSWER, {"worker_id": held.worker_id, "answered_at_ms": self.clock()})

    @rule(call_id=CALLS, elsewhere=st.none() | st.none() | MACHINES)
    def attach(self, call_id: str, elsewhere: str | None) -> None:
        """The stream comes to the worker that holds its slot, or elsewhere; a full worker refuses it."""
        self.step("attach", call_id=call_id, elsewhere=elsewhere)
        record = self.both("get", call_id)
        machine = elsewhere or (record.worker_id.split(".")[0] if record and record.worker_id else "w1")
        me = self.worker_id(machine)
        held = self.sessions[me]
        if machine in self.down or (call_id not in held and len(held) >= CAPACITIES[machine]):
            return
        if not self.both("occupy", call_id, me, LEASE_MS):
            return
        if self.both("move", call_id, CallEvent.ATTACH, {"worker_id": me}).moved:
            held.add(call_id)
            self.stop_sessions(call_id, but=me)
        else:
            self.release(call_id)

    @rule(call_id=CALLS)
    def hand_over(self, call_id: str) -> None:
        """To any worker but the one that has it."""
        record = self.both("get", call_id)
        if record and record.worker_id:
            machine = record.worker_id.split(".")[0]
            self.reserve(call_id, {machine}, is_answered=False)
            for other in CAPACITIES:
                if call_id in self.counted().get(self.worker_id(other), ()):
                    self.attach(call_id, other)
                    return

    @rule(call_id=CALLS, fence=st.sampled_from(["none", "epoch", "old"]))
    def detach(self, call_id: str, fence: str) -> None:
        self.step("detach", call_id=call_id, fence=fence)
        self.move(call_id, CallEvent.DETACH, fence)

    @rule(call_id=CALLS, event=st.sampled_from(CallEvent), fence=st.sampled_from(["none", "epoch", "old"]))
    def move(self, call_id: str, event: CallEvent, fence: str) -> None:
        self.step("move", call_id=call_id, event=event, fence=fence)
        record = self.both("get", call_id)
        epoch = record.epoch if record else 0
        at = {"none": None, "epoch": epoch, "old": epoch - 1}[fence]
        self.both("move", call_id, event, {"detail": str(event), "figures": {str(event): 1}}, fence=at)

    @rule(call_id=CALLS)
    def release(self, call_id: str) -> None:
        self.step("release", call_id=call_id)
        self.stop_sessions(call_id)
        self.both("release", call_id)

    @rule(call_id=CALLS)
    def end(self, call_id: str) -> None:
        self.step("end", call_id=call_id)
        self.stop_sessions(call_id)
        moved = [self.run(end_call(twin, call_id, Reason.IDLE)) for twin in (self.memory, self.redis)]
        assert moved[0] == moved[1]

    @precondition(lambda self: self.steps)
    @rule(ago=st.integers(0, 20))
    def repeat(self, ago: int) -> None:
        """Anything that was asked before is asked again."""
        name, how = self.steps[-1 - ago % len(self.steps)]
        getattr(self, name)(**how)

    @rule(call_id=CALLS)
    def patch_and_note(self, call_id: str) -> None:
        self.both("patch", call_id, {"detail": "patched", "figures": {"turns": 2}})
        self.both("note", call_id, [TimelineEntry(self.clock(), "gateway:g", "turn", {"n": 1})])
        self.both("timeline", call_id, 1)

    # -- time, housekeeping, loss

    @rule(is_settled=st.booleans())
    def reap(self, is_settled: bool) -> None:
        """Housekeeping's own judgement. Workers hear that their calls were ended."""
        reaped = [self.run(reap(twin, GRACE, self.meter, is_settled=is_settled)) for twin in (self.memory, self.redis)]
        assert reaped[0] == reaped[1]
        for calls in self.sessions.values():
            for call_id in list(calls):
                if (record := self.both("get", call_id)) and record.is_over:
                    calls.discard(call_id)

    @rule(limit=st.integers(1, 4))
    def close_records(self, limit: int) -> None:
        for call_id in (closed := self.both("outbox", limit)):
            self.both("close_record", call_id)
        self.both("outbox_done", closed)

    @rule()
    def forget(self) -> None:
        self.both("forget_before", self.clock() - HOLD_MS)

    @rule(
        ms=st.sampled_from([0, 1, 1_000, LEASE_MS - 1, LEASE_MS, HOLD_MS, 4 * HOLD_MS]),
        silent=st.sets(MACHINES, max_size=2),
    )
    def wait(self, ms: int, silent: set[str]) -> None:
        """Time goes by, with heartbeats of all but those that are silent."""
        for at in range(0, max(ms, 1), BEAT_MS):
            self.clock.forward(min(BEAT_MS, ms - at))
            self.beat_all(silent)

    @precondition(lambda self: self.clock.at_ms % 7 == 0)  # now and then
    @rule()
    def lose_everything(self) -> None:
        """Redis is restarted empty; the workers and their calls live on."""
        self.run(empty(self.url))
        self.memory = MemoryRegistry(clock=self.clock)

    # -- what always holds

    @invariant()
    def no_worker_has_too_many_and_no_call_two_slots(self) -> None:
        slots = self.slots()
        listed = [call for ends in slots.values() for call in ends]
        assert len(listed) == len(set(listed)), "a call with two slots"
        counted = self.counted()
        for view in self.both("workers"):
            me, calls = view.record.worker_id, counted.get(view.record.worker_id, set())
            assert view.used == len(calls)
            assert len(self.sessions[me]) <= view.record.capacity
            self.mistaken[me] &= calls - self.sessions[me]
            assert len(calls - self.mistaken[me]) <= view.record.capacity
        self.both("lapsed_slots")
        self.both("outbox")
        self.both("recent_calls")

    def teardown(self) -> None:
        try:
            self.everything_ends()
        finally:
            self.run(self.redis.close())
            self.runner.close()

    def everything_ends(self) -> None:
        """All calls end, or all workers die: every slot comes back, without any help but the reaper's."""
        if self.do_workers_die:
            for machine in CAPACITIES:
                self.crash(machine)
            self.clock.forward(HOLD_MS + LEASE_MS)
            assert not any(self.counted().values()), "a slot that did not end by itself"
        else:
            for n in range(6):
                self.end(f"c{n}")
            self.beat_all(set())
            self.clock.forward(LEASE_MS)  # the last late heartbeat has been believed for so long
            self.beat_all(set())
            assert not any(self.counted().values()), "a slot that outlived its call"
        self.clock.forward(LEASE_MS + GRACE.remove_after_ms)
        self.reap(is_settled=True)
        self.reap(is_settled=True)  # workers are removed once their calls are judged
        assert self.slots() == {}
        assert self.both("lapsed_slots") == []
        assert [view.record.worker_id for view in self.both("workers")] == []


def as_text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.timeout(120)
def test_every_slot_comes_back_whatever_happens_and_both_registries_live_through_it_alike(redis_url: str) -> None:
    machine = type("FleetHere", (Fleet,), {"url": redis_url})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=50, stateful_step_count=30, deadline=None, derandomize=True)
    )
