"""The one module that knows arq: when which job runs, and how a lost Redis is lived through.

Each job is a cron job with one id per tick, so that of several housekeeping processes one does it. Jobs travel
as JSON. arq's worker ends with its Redis connection; `keep_running` starts another, with growing pauses.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from arq.connections import ArqRedis
from arq.cron import CronJob, cron
from arq.utils import poll
from arq.worker import Worker
from redis.exceptions import NoPermissionError, RedisError

from shared.process.tasks import cancel_until_gone
from shared.registry import keys
from shared.registry.address import RedisAddress, close_pool
from shared.telemetry.logs import get_logger

log = get_logger(__name__)

JOB_TIMEOUT_S = 30
RESULT_KEPT_S = 10  # longer than clocks of two processes differ: a finished tick is not begun again
FINISH_S = 5
RIGHTS = "the user of Redis needs the keys arq:* and sfvopi:*, all commands but dangerous ones"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """What runs, and at which seconds of each minute."""

    run: Callable[[], Awaitable[object]]
    seconds: frozenset[int]


EVERY_SECOND = frozenset(range(60))
EVERY_MINUTE = frozenset({17})


class Schedule:
    """Runs jobs by name until it is stopped."""

    def __init__(self, address: RedisAddress, jobs: Mapping[str, Job], on_failure: Callable[[str], None]) -> None:
        self._on_failure = on_failure  # told in one line why it does not run
        self._address = address
        self._jobs = jobs
        self._stopping = asyncio.Event()
        logging.getLogger("arq").setLevel(logging.WARNING)  # it has three lines to say of every job

    def stop(self) -> None:
        """Begin no more jobs, give those that run `FINISH_S` to finish, then end `keep_running`."""
        self._stopping.set()

    async def keep_running(self) -> None:
        """Run until `stop`, whatever happens to Redis."""
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            began = asyncio.get_running_loop().time()
            try:
                await self._run_once()
            except (RedisError, OSError) as error:
                why = f"{type(error).__name__}: {error}"  # Redis names the command that it refuses, and no secret
                if isinstance(error, NoPermissionError):
                    why += f" ({RIGHTS})"
                self._on_failure(why)
                if pause_s == FIRST_PAUSE_S:
                    log.warning("schedule lost Redis, trying again", error=why)
            except Exception as error:
                self._on_failure(type(error).__name__)
                log.exception("schedule failed, trying again")
            if asyncio.get_running_loop().time() - began > LONGEST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _run_once(self) -> None:
        pool = self._address.pool(socket_timeout=5, socket_connect_timeout=1, max_connections=10)
        redis = ArqRedis(
            pool_or_conn=pool,
            job_serializer=to_json,
            job_deserializer=json.loads,
            default_queue_name=keys.HOUSEKEEPING_QUEUE,
            expires_extra_ms=60_000,
        )
        worker = self._make_worker(redis)
        working = asyncio.create_task(worker.main(), name="arq")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            worker.allow_pick_jobs = False
            if self._stopping.is_set() and worker.tasks:
                await asyncio.wait(worker.tasks.values(), timeout=FINISH_S)
            if working.done():
                working.result()  # raises what ended it
        finally:
            await cancel_until_gone(stopping, working, *worker.tasks.values())
            await close_pool(pool)

    def _make_worker(self, redis: ArqRedis) -> Worker:
        return QuietWorker(
            cron_jobs=[self._cron(name, job) for name, job in self._jobs.items()],
            redis_pool=redis,
            queue_name=keys.HOUSEKEEPING_QUEUE,
            handle_signals=False,
            retry_jobs=False,  # the next tick is the retry
            max_tries=1,
            job_timeout=JOB_TIMEOUT_S,
            keep_result=RESULT_KEPT_S,
            health_check_interval=60,
            log_results=False,
            job_serializer=to_json,
            job_deserializer=json.loads,
        )

    def _cron(self, name: str, job: Job) -> CronJob:
        async def run(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> None:
            await job.run()

        return cron(run, name=name, second=set(job.seconds), keep_result=RESULT_KEPT_S)


class QuietWorker(Worker):
    """arq's, without a look at INFO and DBSIZE at its start: a hardened user of Redis has no right to them."""

    async def main(self) -> None:
        self.ctx["redis"] = self.pool
        async for _ in poll(self.poll_delay_s):
            await self._poll_iteration()


def to_json(job: dict[str, Any]) -> bytes:
    """A job or its result, as arq stores them; an exception as its text."""
    return json.dumps(job, default=str).encode()
