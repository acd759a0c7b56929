"""A process whose side task died must not look ready."""

import asyncio

from shared.process.tasks import SideTasks, sample_loop_lag
from shared.telemetry.health import Health, Readiness
from shared.telemetry.meter import Meter


async def until(condition, deadline_s: float = 2) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_side_task_that_raises_makes_the_process_not_ready() -> None:
    async def dies() -> None:
        raise RuntimeError("gone")

    health = Health(started=True)
    tasks = SideTasks(health)
    tasks.start("heartbeat", dies())
    await until(lambda: health.readiness is Readiness.SIDE_TASK_DIED)
    assert health.dead_tasks == ["heartbeat"]
    await tasks.stop()


async def test_a_side_task_that_just_returns_is_dead_too() -> None:
    health = Health(started=True)
    tasks = SideTasks(health)
    tasks.start("nudges", asyncio.sleep(0))
    await until(lambda: health.readiness is Readiness.SIDE_TASK_DIED)
    await tasks.stop()


async def test_stopping_side_tasks_is_no_death() -> None:
    health = Health(started=True)
    tasks = SideTasks(health)
    task = tasks.start("heartbeat", asyncio.sleep(3600))
    await tasks.stop()
    assert task.done()
    assert health.readiness is Readiness.READY


async def test_loop_lag_is_sampled() -> None:
    meter = Meter("test")
    tasks = SideTasks(Health())
    tasks.start("loop_lag", sample_loop_lag(meter))
    await until(lambda: meter.value("sfvopi_loop_lag_seconds_count") >= 2)
    await tasks.stop()
