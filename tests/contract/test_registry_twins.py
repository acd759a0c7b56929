"""Redis and its in-memory twin do the same, whatever happens in whatever order, and no slot is lost or doubled."""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
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
from shared.fleet.quarantine import open_to
from shared.fleet.selector import best_worker
from shared.fleet.worker import Order, WorkerRecord, WorkerState
from shared.registry import MemoryRegistry, RedisRegistry, Registry, TimelineEntry
from shared.registry.contract import LINE_KEPT_MS, Exposed
from shared.registry.endings import end_call
from tests.conftest import Clock, empty

LEASE_MS = 5_000
HOLD_MS = 12_000
NO_BUILDS: Mapping[str, str] = MappingProxyType({})
SETTLE_MS = 1_000
CAPACITIES = {"w1": 1, "w2": 2, "w3": 2}
SEATS = st.sampled_from(["w1@1", "w1@2", "w2@1"])
WORKERS = st.sampled_from(list(CAPACITIES))
BOTS = st.sampled_from(["", "m:sales", "m:support"])
LISTED = st.sampled_from([None, None, (), ("m:sales",), ("m:sales", "m:support")])
CALLS = st.sampled_from([f"c{n}" for n in range(6)])
BUILDS = st.dictionaries(st.sampled_from(["m:sales", "m:support"]), st.sampled_from(["", "1"]))


class Twins(RuleBasedStateMachine):
    """Both registries live through the same; workers are as real ones: they name the calls that they hold."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.sessions: dict[str, set[str]] = {worker_id: set() for worker_id in CAPACITIES}
        self.memory = MemoryRegistry(clock=self.clock, settle_ms=SETTLE_MS)
        self.redis = RedisRegistry.connect(
            self.url, clock=self.clock, settle_ms=SETTLE_MS, command_timeout_s=10, connect_timeout_s=10
        )

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    def both(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Ask both, and hold their answers together."""
        answers = [self.run(getattr(twin, method)(*args, **kwargs)) for twin in (self.memory, self.redis)]
        assert answers[0] == answers[1], method
        return answers[0]

    def stop_sessions(self, call_id: str, but: str = "") -> None:
        for worker_id, calls in self.sessions.items():
            if worker_id != but:
                calls.discard(call_id)

    @initialize()
    def start(self) -> None:
        self.run(empty(self.url))
        self.wait(0, set())

    @rule(
        worker_id=WORKERS,
        state=st.sampled_from([*WorkerState, WorkerState.SERVING]),
        offers=st.none() | st.integers(0, 3),
        bots=LISTED,
        builds=BUILDS,
    )
    def beat(
        self,
        worker_id: str,
        state: WorkerState,
        offers: int | None = None,
        bots: tuple[str, ...] | None = None,
        builds: Mapping[str, str] = NO_BUILDS,
    ) -> None:
        how: dict[str, Any] = {"offers": offers, "bots": bots, "builds": dict(builds)}
        record = WorkerRecord(worker_id, "127.0.0.1:1", state, CAPACITIES[worker_id], **how)
        self.both("heartbeat", record, sorted(self.sessions[worker_id]), LEASE_MS)

    @rule(gateway_id=st.sampled_from(["g1", "g2", "g3"]))
    def beat_gateway(self, gateway_id: str) -> None:
        self.both("gateway_heartbeat", gateway_id, LEASE_MS)

    @rule(process_id=st.sampled_from(["g1", "h1"]))
    def expose(self, process_id: str) -> None:
        self.both("expose", Exposed("gateway", process_id, "127.0.0.1:1"), LEASE_MS)
        self.both("exposed")

    @rule(worker_id=WORKERS)
    def crash(self, worker_id: str) -> None:
        self.sessions[worker_id].clear()

    @precondition(lambda self: self.clock.at_ms % 5 == 0)  # now and then
    @rule(worker_id=WORKERS)
    def remove(self, worker_id: str) -> None:
        self.sessions[worker_id].clear()
        self.both("remove_worker", worker_id)

    @rule(
        call_id=CALLS,
        times=st.integers(1, 2),
        avoid=st.just(set()) | st.sets(WORKERS),
        number=st.sampled_from("xy"),
        ceiling=st.sampled_from([0, 0, 1, 2]),
        is_live=st.booleans(),
        in_turn=st.booleans(),
        bot=BOTS,
        is_suspect=st.booleans(),
    )
    def reserve(self, call_id: str, times: int, avoid: set[str], **how: Any) -> None:
        for _ in range(times):
            self.both("reserve", call_id, HOLD_MS, avoid, **how)

    @rule(worker_id=WORKERS, order=st.sampled_from(Order))
    def give_order(self, worker_id: str, order: Order) -> None:
        self.both("give_order", WorkerRecord(worker_id, "", WorkerState.SERVING, 1), order)

    @rule(
        call_id=CALLS,
        ago_ms=st.sampled_from([0, 0, 500]),
        number=st.sampled_from("xy"),
        ceiling=st.sampled_from([0, 1]),
        bot=BOTS,
    )
    def join_line(self, call_id: str, ago_ms: int, **what: Any) -> None:
        self.both("join_line", call_id, self.clock() - ago_ms, LEASE_MS, **what)

    @rule(call_ids=st.sets(CALLS), lease_ms=st.sampled_from([0, LEASE_MS, LEASE_MS]))
    def keep_line(self, call_ids: set[str], lease_ms: int) -> None:
        self.both("keep_line", sorted(call_ids), lease_ms)

    @rule(call_id=CALLS, worker_id=WORKERS)
    def occupy(self, call_id: str, worker_id: str) -> None:
        held = self.sessions[worker_id]
        if call_id not in held and len(held) >= CAPACITIES[worker_id]:
            return  # the worker itself is the last authority
        if self.both("occupy", call_id, worker_id, LEASE_MS):
            held.add(call_id)
            self.stop_sessions(call_id, but=worker_id)

    @rule(call_id=CALLS)
    def release(self, call_id: str) -> None:
        self.stop_sessions(call_id)
        self.both("release", call_id)

    @rule(call_ids=st.sets(CALLS, min_size=2), bot=BOTS, build=st.sampled_from(["", "1"]))
    def convict(self, call_ids: set[str], bot: str, build: str) -> None:
        for call_id in sorted(call_ids):
            self.both("convict", call_id, bot, build)
        self.both("quarantined")

    @rule(bot=BOTS)
    def release_bot(self, bot: str) -> None:
        self.both("release_bot", bot)
        self.both("quarantined")

    @rule(
        call_id=CALLS,
        event=st.sampled_from(CallEvent),
        fence=st.sampled_from(["none", "epoch", "old"]),
        there=st.just({}) | st.fixed_dictionaries({"worker_id": WORKERS}, optional={"seat": SEATS}),
    )
    def move(self, call_id: str, event: CallEvent, fence: str, there: dict[str, str]) -> None:
        record = self.both("get", call_id)
        epoch = record.epoch if record else 0
        at = {"none": None, "epoch": epoch, "old": epoch - 1}[fence]
        self.both("move", call_id, event, {"detail": str(event), "figures": {str(event): 1}, **there}, fence=at)

    @rule(call_id=CALLS, times=st.integers(1, 2))
    def end(self, call_id: str, times: int) -> None:
        self.stop_sessions(call_id)
        for _ in range(times):
            moved = [self.run(end_call(twin, call_id, Reason.IDLE)) for twin in (self.memory, self.redis)]
            assert moved[0] == moved[1]

    @rule(call_id=CALLS)
    def patch_and_note(self, call_id: str) -> None:
        self.both("patch", call_id, {"detail": "patched", "figures": {"turns": 2}})
        self.both("note", call_id, [TimelineEntry(self.clock(), "gateway:g", "turn", {"n": 1})])
        self.both("timeline", call_id, 1)

    @rule()
    def reap(self) -> None:
        for call_id, _, _ in self.both("lapsed_slots"):
            self.both("enqueue_ending", call_id)
            self.stop_sessions(call_id)

    @rule(limit=st.integers(1, 4))
    def close_records(self, limit: int) -> None:
        for call_id in (waiting := self.both("outbox", limit)):
            self.both("close_record", call_id)
        self.both("outbox_done", waiting)

    @rule()
    def forget(self) -> None:
        self.both("forget_before", self.clock() - HOLD_MS)

    @rule(ms=st.sampled_from([0, 1, 1_000, LEASE_MS - 1, LEASE_MS, HOLD_MS]), silent=st.sets(WORKERS, max_size=2))
    def wait(self, ms: int, silent: set[str]) -> None:
        """Time goes by, with heartbeats of all but those that are silent."""
        for step in [1_000] * (ms // 1_000) + [ms % 1_000]:
            self.clock.forward(step)
            for worker_id in CAPACITIES.keys() - silent:
                self.beat(worker_id, WorkerState.SERVING)

    @precondition(lambda self: self.clock.at_ms % 7 == 0)  # now and then
    @rule()
    def lose_everything(self) -> None:
        """Redis is restarted empty; the workers and their calls live on."""
        self.run(empty(self.url))
        self.memory = MemoryRegistry(clock=self.clock, settle_ms=SETTLE_MS)

    @precondition(lambda self: self.clock.at_ms % 5 == 0)  # now and then
    @rule()
    def be_silent_for_long(self) -> None:
        """Places in line are forgotten."""
        self.clock.forward(LINE_KEPT_MS)

    @invariant()
    def both_tell_the_same_and_nobody_has_too_many(self) -> None:
        for view in self.both("workers"):
            assert view.used <= view.record.capacity
        self.both("lapsed_slots")
        self.both("keep_line", [], 0)
        self.both("since_ms")
        self.both("outbox")
        self.both("recent_calls")

    def teardown(self) -> None:
        try:
            self.crash_all_and_wait()
        finally:
            self.run(self.redis.close())
            self.runner.close()

    def crash_all_and_wait(self) -> None:
        """Whatever happened: without any help, every slot comes back by itself."""
        self.clock.forward(HOLD_MS + LEASE_MS)
        for worker_id in CAPACITIES:
            self.sessions[worker_id].clear()
            self.beat(worker_id, WorkerState.SERVING)
        assert [view.used for view in self.both("workers")] == [0, 0, 0]
        self.reap()
        assert self.both("lapsed_slots") == []


@pytest.mark.timeout(120)
def test_both_registries_live_through_anything_alike(redis_url: str) -> None:
    machine = type("TwinsHere", (Twins,), {"url": redis_url})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
    )


FLEETS = st.dictionaries(
    # ids that differ in case and beyond ASCII: places where a locale's order is not that of code points
    st.text(st.sampled_from("aAbB-_z9éZß漢😀"), min_size=1, max_size=3),
    st.tuples(
        st.sampled_from([*WorkerState, *[WorkerState.SERVING] * 4]),
        st.integers(0, 6),
        st.integers(0, 6),
        st.none() | st.integers(0, 6),
        LISTED,
    ),
    max_size=8,
)


@pytest.fixture
def twins(redis_url: str) -> Iterator[tuple[asyncio.Runner, list[Registry], Clock]]:
    clock = Clock()
    with asyncio.Runner() as runner:
        runner.run(empty(redis_url))
        redis = RedisRegistry.connect(redis_url, clock=clock, command_timeout_s=10, connect_timeout_s=10)
        yield runner, [MemoryRegistry(clock=clock), redis], clock
        runner.run(redis.close())


@given(fleet=FLEETS, silent=st.sets(st.integers(0, 7), max_size=3), bot=BOTS)
@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_registry_chooses_as_the_selector_does(
    twins: tuple[asyncio.Runner, list[Registry], Clock],
    redis_url: str,
    fleet: dict[str, tuple[WorkerState, int, int, int | None, tuple[str, ...] | None]],
    silent: set[int],
    bot: str,
) -> None:
    runner, registries, clock = twins

    async def choose(registry: Registry) -> tuple[str | None, str | None]:
        for view in await registry.workers():
            await registry.remove_worker(view.record.worker_id)
        for n, (worker_id, (state, capacity, used, offers, bots)) in enumerate(fleet.items()):
            record = WorkerRecord(worker_id, "127.0.0.1:1", state, capacity, offers=offers, bots=bots)
            live = [f"{n}-{call}" for call in range(used)]
            await registry.heartbeat(record, live, 0 if n in silent else LEASE_MS)
        best = best_worker(await registry.workers(), clock(), bot)
        held = await registry.reserve("new", HOLD_MS, bot=bot)
        await registry.release("new")
        return best and best.record.worker_id, held and held.worker_id

    for registry in registries:
        expected, chosen = runner.run(choose(registry))
        assert chosen == expected


@given(
    fleet=st.lists(st.tuples(st.sampled_from([*WorkerState, WorkerState.SERVING]), LISTED, BUILDS), max_size=4),
    bad=st.sets(st.tuples(st.sampled_from(["m:sales", "m:support"]), st.sampled_from(["", "1"]))),
    silent=st.sets(st.integers(0, 3), max_size=1),
    bot=BOTS,
    is_live=st.booleans(),
)
@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_registry_keeps_the_calls_of_quarantined_bots_from_the_same_workers(
    twins: tuple[asyncio.Runner, list[Registry], Clock],
    fleet: list[tuple[WorkerState, tuple[str, ...] | None, dict[str, str]]],
    bad: set[tuple[str, str]],
    silent: set[int],
    bot: str,
    is_live: bool,
) -> None:
    runner, registries, clock = twins

    async def choose(registry: Registry) -> tuple[str | None, str | None]:
        for view in await registry.workers():
            await registry.remove_worker(view.record.worker_id)
        for quarantine in await registry.quarantined():
            await registry.release_bot(quarantine.bot)
        for name, build in sorted(bad):
            for call_id in "abc":
                await registry.convict(call_id, name, build)
        for n, (state, bots, builds) in enumerate(fleet):
            record = WorkerRecord(f"w{n}", "127.0.0.1:1", state, 2, bots=bots, builds=builds)
            await registry.heartbeat(record, [], 0 if n in silent else LEASE_MS)
        workers, quarantines = await registry.workers(), {q.bot: q for q in await registry.quarantined()}
        best = best_worker(open_to(bot, workers, {} if is_live else quarantines, clock()), clock(), bot)
        held = await registry.reserve("new", HOLD_MS, bot=bot, is_live=is_live)
        await registry.release("new")
        return best and best.record.worker_id, held and held.worker_id

    for registry in registries:
        expected, chosen = runner.run(choose(registry))
        assert chosen == expected
