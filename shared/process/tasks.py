"""Side tasks: what runs beside the calls for as long as the process does. One that dies makes it not ready."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from shared.telemetry.catalogue import LOOP_LAG_SECONDS
from shared.telemetry.health import Health
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter

LAG_SAMPLE_S = 0.1


class SideTasks:
    """Named tasks under watch. One that ends before `stop`, with or without an error, is dead: `health` says so."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self._log = get_logger(__name__)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` until `stop`."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks[name] = task
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if self._stopping:
            return
        self._health.dead_tasks.append(task.get_name())
        self._log.error("side task died", task=task.get_name(), exc_info=error)

    def expect_ends(self) -> None:
        """From now on nobody is missed who ends."""
        self._stopping = True

    async def stop(self) -> None:
        """Cancel all and wait until they are gone."""
        self.expect_ends()
        await cancel_until_gone(*self._tasks.values())


async def cancel_until_gone(*tasks: asyncio.Task[Any]) -> None:
    """Cancel these tasks again and again: a cancellation that meets a timeout within the task can be lost."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=0.5)
    await asyncio.gather(*tasks, return_exceptions=True)


async def sample_loop_lag(meter: Meter, seen: Callable[[float], None] = lambda _: None) -> None:
    """Observe, ten times a second, how late the event loop wakes (seconds), and show it. A side task."""
    loop = asyncio.get_running_loop()
    while True:
        before = loop.time()
        await asyncio.sleep(LAG_SAMPLE_S)
        late_s = max(0.0, loop.time() - before - LAG_SAMPLE_S)
        meter.observe(LOOP_LAG_SECONDS, late_s)
        seen(late_s)


def dump_tasks() -> None:
    """Every task of the running loop into the log, with the lines where it stands. Logs only, whatever happens."""
    log = get_logger(__name__)
    tasks = asyncio.all_tasks()
    log.warning("tasks", count=len(tasks))
    for task in sorted(tasks, key=lambda t: t.get_name()):
        log.warning("task", name=task.get_name(), work=_name_of(task.get_coro()), stands_at=_stack_of(task.get_coro()))


def _stack_of(work: Any) -> list[str]:
    """From the task's own line down to the one that it waits at; `Task.get_stack` gives the first only."""
    lines = []
    while work is not None:
        frame = getattr(work, "cr_frame", None) or getattr(work, "gi_frame", None) or getattr(work, "ag_frame", None)
        if frame is not None:
            lines.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        work = getattr(work, "cr_await", None) or getattr(work, "gi_yieldfrom", None) or getattr(work, "ag_await", None)
    return lines


def _name_of(work: object) -> str:
    return str(getattr(work, "__qualname__", type(work).__name__))
