"""Which tasks belong to which session, so that none outlives it.

A task factory remembers every task in the session whose context it was started in. What is shared by calls (a
model, a pool, a connection kept open) must not die with the call that happened to start it: start it with
`start_shared`.
"""

import asyncio
import contextvars
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_OWNER: contextvars.ContextVar["SessionTasks | None"] = contextvars.ContextVar("session_tasks", default=None)


class SessionTasks:
    """The tasks of one session."""

    def __init__(self) -> None:
        self._tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()

    def enter(self) -> None:
        """Every task started from here on, in this context, is the session's."""
        _OWNER.set(self)

    def add(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)

    def alive(self) -> list[asyncio.Task[Any]]:
        """Those that still run, but for the one that asks."""
        asking = asyncio.current_task()
        return [task for task in self._tasks if not task.done() and task is not asking]

    async def end(self, grace_s: float, cancel_s: float) -> int:
        """Let them finish, then cancel; returns how many had to be cancelled."""
        if not self.alive():
            return 0
        await asyncio.wait(self.alive(), timeout=grace_s)
        left = self.alive()
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=cancel_s)
        return len(left)


def install_task_factory(loop: asyncio.AbstractEventLoop) -> None:
    """Make the loop remember whose each task is. Once per process."""

    def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
        context: contextvars.Context | None = options.get("context")
        owner = _OWNER.get() if context is None else context.get(_OWNER)
        if owner is not None:
            owner.add(task)
        return task

    loop.set_task_factory(make)


def start_shared(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start a task that belongs to the process, whichever call it was that needed it first."""
    return asyncio.get_running_loop().create_task(work, name=name, context=contextvars.Context())
