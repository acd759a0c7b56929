"""How many gateways there are, since when calls are remembered, and the second in which nothing new is placed."""

from shared.fleet.worker import WorkerRecord, WorkerState
from shared.registry import Registry
from shared.registry.contract import Exposed
from tests.conftest import Clock

LEASE_MS = 5_000


async def beat(registry: Registry, worker_id: str = "w", *live: str) -> None:
    await registry.heartbeat(WorkerRecord(worker_id, "127.0.0.1:1", WorkerState.SERVING, 2), live, LEASE_MS)


async def test_gateways_are_counted_while_their_leases_hold(registry: Registry, clock: Clock) -> None:
    assert await registry.gateway_heartbeat("g1", LEASE_MS) == 1
    assert await registry.gateway_heartbeat("g2", LEASE_MS) == 2
    assert await registry.gateway_heartbeat("g1", LEASE_MS) == 2
    clock.forward(LEASE_MS)
    assert await registry.gateway_heartbeat("g2", LEASE_MS) == 1


async def test_processes_with_metrics_are_found_while_their_leases_hold(registry: Registry, clock: Clock) -> None:
    gateway = Exposed("gateway", "g1", "127.0.0.1:9000")
    housekeeping = Exposed("housekeeping", 'a "h"', "[::1]:9200")
    await registry.expose(housekeeping, 2 * LEASE_MS)
    await registry.expose(gateway, LEASE_MS)
    await registry.expose(gateway, LEASE_MS)
    assert await registry.exposed() == [gateway, housekeeping]
    clock.forward(LEASE_MS)
    assert await registry.exposed() == [housekeeping]


async def test_a_registry_remembers_since_the_first_heartbeat_of_a_worker(registry: Registry, clock: Clock) -> None:
    await registry.gateway_heartbeat("g", LEASE_MS)
    assert await registry.since_ms() == 0
    began_ms = clock()
    await beat(registry)
    clock.forward(3_000)
    await beat(registry, "another")
    await registry.remove_worker("w")
    assert await registry.since_ms() == began_ms


async def test_nothing_new_is_placed_until_the_workers_have_told_of_their_calls(
    settling: Registry, clock: Clock
) -> None:
    await beat(settling, "w", "live")
    assert await settling.reserve("new", 60_000) is None
    assert await settling.occupy("came", "w", LEASE_MS), "a stream that is there takes a free slot"
    held = await settling.reserve("live", 60_000)
    assert held is not None
    assert held.worker_id == "w", "a call that has a slot keeps it"
    clock.forward(999)
    await beat(settling, "another", "also live")
    assert await settling.reserve("new", 60_000) is None
    clock.forward(1)
    placed = await settling.reserve("new", 60_000)
    assert placed is not None
    assert placed.worker_id == "another"
