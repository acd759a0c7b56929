"""What bots do after their calls: a summary, an upload. The line is closed, the slot is free, the record is written.

A bot has a limit for it, a worker has room for a few such bots, and the oldest makes room for the next. What is cut is
counted and logged; the call's record says so.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from shared.settings import WorkerSettings
from shared.telemetry.catalogue import BOTS_AFTER_CALL, SESSION_TASKS_LEFT, STUCK_SESSIONS, WORK_AFTER_CALL_CUT
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from worker.observing import CallWatch
from worker.pipeline.finish import ask_to_cancel, clean_up, close_clients, end_helpers, force, helpers_of, is_at_work
from worker.stream import CallStream
from worker.tasks import SessionTasks, start_shared

LOOK_S = 0.05
HANDLER_GRACE_S = 1.0  # for the bot's own on_client_disconnected to begin, and to end the pipeline when it has done
TASKS_GRACE_S = 0.5  # for what a bot that had to be abandoned left running
PER_SLOT = 2  # bots that may be at work after their calls


class Afterwork:
    """One bot after its call: its pipeline ends, it does what follows, and nothing of it is left."""

    def __init__(
        self,
        bot: asyncio.Task[None] | None,
        stream: CallStream,
        tasks: SessionTasks,
        settings: WorkerSettings,
        fault: Callable[[], str],
    ) -> None:
        self.why_cut = ""  # limit, crowded or stopped: what still ran was cancelled
        self.stuck_steps: list[str] = []  # what it took to end the pipeline
        self.tasks_left = 0
        self._bot = bot
        self.watch = stream.watch
        self.fault = fault  # what the bot raised meanwhile
        self._stream = stream
        self._tasks = tasks
        self._settings = settings
        self._worked_at = time.monotonic()
        self._ends_at = self._worked_at + settings.after_call_s

    def cut(self, why: str) -> None:
        """There is no more time."""
        self.why_cut = self.why_cut or why

    async def run(self) -> None:
        """Returns when nothing is left of the bot."""
        grace_s = TASKS_GRACE_S  # a stuck pipeline's own tasks are no work
        if await self._end_pipeline():
            await self._until(lambda: not self._tasks.alive())
            grace_s = 0.0
        self._stream.end()
        if self._stream.pipeline is not None:
            await close_clients(self._stream.pipeline)
        self.tasks_left = await self._tasks.end(grace_s, self._settings.cancel_grace_s)
        if self.tasks_left and time.monotonic() >= self._ends_at:
            self.cut("limit")

    async def _end_pipeline(self) -> bool:
        """Whether it has ended, and the bot may go on: False if it had to be abandoned."""
        pipeline = self._stream.pipeline
        if pipeline is None:  # still at its preparations for a caller who has gone
            return await self._abandon()
        if self._stream.handles_disconnect() and self._stream.is_hung_up:
            await self._until(lambda: self._has_ended() or self._rests_for(HANDLER_GRACE_S))
        if not self._has_ended():
            await ask_to_cancel(pipeline)
            if not await self._ends_within_grace():
                self.stuck_steps.append("cancelled")
                await force(pipeline)
                if not await self._ends_within_grace():
                    return await self._abandon()
        await self._until(lambda: not any(worker._active_jobs for worker in helpers_of(pipeline)))
        await end_helpers(pipeline)
        if self._stream.is_left_running:
            await clean_up(pipeline)
        return True

    async def _abandon(self) -> bool:
        if self._bot is None or self._bot.done():
            return True
        self._bot.cancel()
        await asyncio.wait({self._bot}, timeout=self._settings.cancel_grace_s)
        if not self._bot.done():
            self.stuck_steps.append("abandoned")
        return False

    async def _ends_within_grace(self) -> bool:
        """While a handler is at work, the pipeline waits for it, and so do we."""
        self._worked_at = time.monotonic()
        grace_s = self._settings.cancel_grace_s
        await self._until(lambda: self._has_ended() or self._rests_for(grace_s), float("inf"))
        return self._has_ended() or bool(self.why_cut)

    def _rests_for(self, seconds: float) -> bool:
        """Whether no handler or tool of the bot has run for so long, or has any time left."""
        now = time.monotonic()
        if now < self._ends_at and is_at_work(self._stream.pipeline):
            self._worked_at = now
        return now - self._worked_at > seconds

    def _has_ended(self) -> bool:
        return self._stream.pipeline.has_finished() or not self._tasks.alive()

    async def _until(self, is_so: Callable[[], bool], ends_at: float | None = None) -> bool:
        """Wait until it is so; False if the time was over before."""
        while not is_so():
            if self.why_cut or time.monotonic() >= (ends_at or self._ends_at):
                return False
            await asyncio.sleep(LOOK_S)
        return True


class Afterwards:
    """The bots of this worker that are at work after their calls, the oldest first."""

    def __init__(
        self,
        settings: WorkerSettings,
        meter: Meter,
        note: Callable[[str, CallWatch], Awaitable[bool]],
        tell_after: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._most = PER_SLOT * settings.calls_per_worker
        self._meter = meter
        self._note = note  # what was seen of a call since its end
        self._tell_after = tell_after  # a call's id, and one line for its record
        self._at_work: dict[asyncio.Task[None], Afterwork] = {}
        self._log = get_logger(__name__)

    def __len__(self) -> int:
        return len(self._at_work)

    def take(self, call_id: str, work: Afterwork) -> None:
        """The line of this call is closed: see its bot off."""
        working = [other for other in self._at_work.values() if not other.why_cut]
        if len(working) >= self._most:
            working[0].cut("crowded")
        task = start_shared(self._see_off(call_id, work), name=f"afterwards:{call_id}")
        self._at_work[task] = work
        self._meter.set(BOTS_AFTER_CALL, len(self._at_work))
        task.add_done_callback(self._gone)

    async def until_empty(self) -> None:
        """Returns when no bot is at work any more."""
        while self._at_work:
            await asyncio.wait(set(self._at_work))

    async def stop(self, within_s: float) -> None:
        """The process ends: what is not done in a moment is cut."""
        if self._at_work:
            await asyncio.wait(set(self._at_work), timeout=TASKS_GRACE_S)
        for work in self._at_work.values():
            work.cut("stopped")
        if self._at_work:
            await asyncio.wait(set(self._at_work), timeout=within_s)

    async def _see_off(self, call_id: str, work: Afterwork) -> None:
        structlog.contextvars.bind_contextvars(call_id=call_id)
        began_at = time.monotonic()
        try:
            await work.run()
        except Exception:  # the edge of a session: it must not take others with it
            self._log.exception("a bot was not seen off")
        await self._tell(call_id, work, round(time.monotonic() - began_at))
        await self._note(call_id, work.watch)

    async def _tell(self, call_id: str, work: Afterwork, after_s: int) -> None:
        for step in work.stuck_steps:
            self._meter.count(STUCK_SESSIONS, step=step)
            self._log.warning("the pipeline would not end", step=step)
        if work.tasks_left:
            self._meter.count(SESSION_TASKS_LEFT, work.tasks_left)
            self._log.warning("tasks were left behind", count=work.tasks_left)
        if work.tasks_left and work.why_cut:
            self._meter.count(WORK_AFTER_CALL_CUT, why=work.why_cut)
            self._log.warning("the bot's work after the call was cut", why=work.why_cut, after_s=after_s)
            await self._tell_after(call_id, f"the bot's work after the call was cut after {after_s} s ({work.why_cut})")
        elif work.fault():
            await self._tell_after(call_id, f"after the call, the bot raised {work.fault()}")

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._at_work.pop(task, None)
        self._meter.set(BOTS_AFTER_CALL, len(self._at_work))
