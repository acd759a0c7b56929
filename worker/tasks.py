"""Which tasks belong to which session, so that none outlives it.

A task factory remembers every task in the session whose context it was started in. What is shared by calls (a
model, a pool, a connection kept open) must not die with the call that happened to start it: start it with
`start_shared`. And it knows for everything that runs in the loop, callbacks too, whose it is.
"""

import asyncio
import contextlib
import contextvars
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_OWNER: contextvars.ContextVar["SessionTasks | None"] = contextvars.ContextVar("session_tasks", default=None)


class SessionTasks:
    """The tasks of one session; `has_exited` is told what one of them ended with that would end the process."""

    def __init__(
        self, call_id: str = "", bot: str = "", has_exited: Callable[[BaseException], None] = lambda _: None
    ) -> None:
        self.whose = {"call_id": call_id, "bot": bot}
        self._has_exited = has_exited
        self._tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()

    def enter(self) -> None:
        """Every task started from here on, in this context, is the session's."""
        _OWNER.set(self)

    def add(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        error = task._exception  # `exception()` would make asyncio forget to log it
        if error is not None and isinstance(error, SystemExit | KeyboardInterrupt):
            self._has_exited(error)

    def __contains__(self, task: object) -> bool:
        return task in self._tasks

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


def whose() -> dict[str, str]:
    """The session of the code that runs now, as `call_id` and `bot`; nothing if it is nobody's."""
    owner = _OWNER.get()
    return owner.whose if owner is not None else {}


def own_tasks(tasks: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Of these, the tasks of the session whose code runs now."""
    owner = _OWNER.get()
    return {task for task in tasks if owner is not None and task in owner}


@contextlib.contextmanager
def code_of(bot: str) -> Iterator[None]:
    """What runs within, and what it starts, is this bot's, and no call's: its import."""
    entered = _OWNER.set(SessionTasks(bot=bot))
    try:
        yield
    finally:
        _OWNER.reset(entered)


def install_task_factory(loop: asyncio.AbstractEventLoop) -> None:
    """Make the loop remember whose each task is."""
    loop.set_task_factory(_make_task)


def _make_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    context: contextvars.Context | None = options.get("context")
    owner = _OWNER.get() if context is None else context.get(_OWNER)
    if owner is not None:
        owner.add(task)
    return task


def start_shared(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start a task that belongs to the process, whichever call it was that needed it first."""
    return asyncio.get_running_loop().create_task(work, name=name, context=contextvars.Context())
