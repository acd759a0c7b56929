"""What the reaper ends and what it leaves alone, over both registries."""

import pytest

from shared.calls.outcome import Reason
from shared.calls.state import CallEvent, CallState
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.registry import Registry
from shared.settings import HousekeepingSettings
from shared.telemetry.health import Health
from shared.telemetry.meter import Meter
from tests.conftest import Clock
from worker.housekeeping.jobs import close_records
from worker.housekeeping.reaper import Grace, reap
from worker.housekeeping.watch import RegistryWatch

LEASE_MS = 5_000
GRACE = Grace(attach_by_ms=62_000, lost_after_ms=15_000, remove_after_ms=50_000)


@pytest.fixture
def meter() -> Meter:
    return Meter("housekeeping")


async def beat(registry: Registry, *live: str, worker_id: str = "w") -> None:
    record = WorkerRecord(worker_id, "127.0.0.1:1", WorkerState.SERVING, 5)
    await registry.heartbeat(record, live, LEASE_MS)


async def answer(registry: Registry, call_id: str = "c") -> None:
    await registry.reserve(call_id, 60_000)
    await registry.move(call_id, CallEvent.ANSWER, {"worker_id": "w", "answered_at_ms": registry.now_ms()})


async def attach(registry: Registry, call_id: str = "c", worker_id: str = "w") -> None:
    assert await registry.occupy(call_id, worker_id, LEASE_MS)
    assert (await registry.move(call_id, CallEvent.ATTACH, {"worker_id": worker_id})).moved


async def reason_of(registry: Registry, call_id: str = "c") -> str:
    record = await registry.get(call_id)
    assert record is not None
    return record.reason


def test_grace_follows_from_the_settings() -> None:
    assert Grace.of(HousekeepingSettings(_env_file=None)) == GRACE


async def test_a_call_whose_stream_never_came_is_ended(registry: Registry, meter: Meter, clock: Clock) -> None:
    await beat(registry)
    await answer(registry)
    for _ in range(61):
        clock.forward(1_000)
        await beat(registry)
        assert await reap(registry, GRACE, meter) == 0
    clock.forward(1_000)
    assert await reap(registry, GRACE, meter) == 1
    assert await reason_of(registry) == Reason.NEVER_ATTACHED
    assert await registry.lapsed_slots() == []
    assert meter.value("sfvopi_reaped_total", kind="never_attached") == 1
    assert meter.value("sfvopi_calls_total", result="failed", reason="never_attached") == 1
    assert await close_records(registry, meter) == 1


async def test_a_reservation_on_a_dead_worker_waits_for_its_stream_all_the_same(
    registry: Registry, meter: Meter, clock: Clock
) -> None:
    """The stream may yet come to another worker."""
    await beat(registry)
    await answer(registry)
    clock.forward(30_000)
    assert await reap(registry, GRACE, meter) == 0
    await beat(registry, worker_id="other")
    await attach(registry, worker_id="other")
    clock.forward(1_000)
    assert await reap(registry, GRACE, meter) == 0
    assert await reason_of(registry) == ""


@pytest.mark.parametrize("state", [CallState.ACTIVE, CallState.DETACHED])
async def test_a_call_of_a_dead_worker_is_ended_when_nobody_took_over(
    registry: Registry, meter: Meter, clock: Clock, state: CallState
) -> None:
    await beat(registry)
    await answer(registry)
    await attach(registry)
    if state is CallState.DETACHED:
        await registry.move("c", CallEvent.DETACH, {})
    clock.forward(LEASE_MS + GRACE.lost_after_ms - 1)
    assert await reap(registry, GRACE, meter) == 0
    clock.forward(1)
    assert await reap(registry, GRACE, meter) == 1
    assert await reason_of(registry) == Reason.WORKER_LOST
    assert meter.value("sfvopi_reaped_total", kind="worker_lost") == 1
    assert meter.value("sfvopi_calls_total", result="failed", reason="worker_lost") == 1


async def test_a_call_that_its_living_worker_no_longer_names_is_ended(
    registry: Registry, meter: Meter, clock: Clock
) -> None:
    """The worker died and was started again under the same name."""
    await beat(registry)
    await attach_new(registry)
    for _ in range(20):
        clock.forward(1_000)
        await beat(registry)
    assert await reap(registry, GRACE, meter) == 1
    assert await reason_of(registry) == Reason.WORKER_LOST


async def test_a_call_that_was_taken_over_lives_on(registry: Registry, meter: Meter, clock: Clock) -> None:
    await beat(registry)
    await attach_new(registry)
    clock.forward(LEASE_MS)
    await beat(registry, worker_id="other")
    await attach(registry, worker_id="other")
    for _ in range(30):
        clock.forward(1_000)
        await beat(registry, "c", worker_id="other")
        await reap(registry, GRACE, meter)
    assert await reason_of(registry) == ""


async def test_nobody_is_ended_or_removed_before_workers_could_speak(
    registry: Registry, meter: Meter, clock: Clock
) -> None:
    """Redis was away for a minute and came back with what it held: every lease is long over, every call lives."""
    await beat(registry)
    await attach_new(registry)
    clock.forward(60_000)
    assert await reap(registry, GRACE, meter, is_settled=False) == 0
    await beat(registry, "c")
    assert await reap(registry, GRACE, meter) == 0
    assert await reason_of(registry) == ""


async def test_an_ended_call_behind_a_lapsed_slot_is_enqueued_again(
    registry: Registry, meter: Meter, clock: Clock
) -> None:
    """Somebody ended the call and died before the slot was given back."""
    await beat(registry)
    await answer(registry)
    await registry.move("c", CallEvent.END, {"reason": str(Reason.CALLER_HUNG_UP)})
    clock.forward(60_000)
    await beat(registry)
    assert await reap(registry, GRACE, meter) == 1
    assert await registry.outbox() == ["c"]
    assert await reap(registry, GRACE, meter) == 0
    assert meter.value("sfvopi_reaped_total", kind="already_ended") == 1


async def test_a_closed_call_that_a_late_heartbeat_named_only_gives_its_slot_back(
    registry: Registry, meter: Meter, clock: Clock
) -> None:
    await beat(registry)
    await attach_new(registry)
    await registry.move("c", CallEvent.END, {"reason": str(Reason.CALLER_HUNG_UP)})
    await registry.enqueue_ending("c")
    await close_records(registry, meter)
    await beat(registry, "c")  # the session had not quite ended
    clock.forward(LEASE_MS)
    await beat(registry)
    await reap(registry, GRACE, meter)
    assert await registry.lapsed_slots() == []
    assert await registry.outbox() == []


async def test_a_slot_without_a_call_is_given_back(registry: Registry, meter: Meter, clock: Clock) -> None:
    """A gateway reserved and died before it wrote the call down; or the call was ringing when it did."""
    await beat(registry)
    await registry.move("ringing", CallEvent.RING, {})
    for call_id in ("nobody", "ringing"):
        await registry.reserve(call_id, 1_000)
    clock.forward(1_000)
    await reap(registry, GRACE, meter)
    assert await registry.lapsed_slots() == []


async def test_a_worker_is_removed_after_ten_leases_and_not_before_its_calls(
    registry: Registry, meter: Meter, clock: Clock
) -> None:
    await beat(registry)
    await answer(registry)
    clock.forward(LEASE_MS + GRACE.remove_after_ms)
    assert await reap(registry, GRACE, meter) == 0  # its reservation waits for a minute
    clock.forward(GRACE.attach_by_ms)
    assert await reap(registry, GRACE, meter) == 2
    assert await registry.workers() == []
    assert meter.value("sfvopi_reaped_total", kind="worker") == 1


async def attach_new(registry: Registry, call_id: str = "c") -> None:
    await answer(registry, call_id)
    await attach(registry, call_id)


class Seconds:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_silence_means_death_only_while_the_registry_was_there_all_the_time(meter: Meter) -> None:
    seconds, health = Seconds(), Health()
    watch = RegistryWatch(health, meter, settle_s=6, gap_s=3, clock=seconds)
    assert not watch.is_settled

    def answers_for(s: int) -> None:
        for _ in range(s):
            seconds.now += 1
            watch.answered()

    answers_for(6)
    assert not watch.is_settled
    answers_for(1)
    assert watch.is_settled

    watch.failed(TimeoutError())
    watch.failed(TimeoutError())
    assert health.registry_away
    assert meter.value("sfvopi_registry_errors_total") == 2
    answers_for(6)
    assert not health.registry_away
    assert not watch.is_settled
    answers_for(1)
    assert watch.is_settled

    seconds.now += 4  # this process slept
    assert not watch.is_settled
    watch.answered()
    assert not watch.is_settled
    answers_for(6)
    assert watch.is_settled
