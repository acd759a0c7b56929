"""Whether the registry is there, and has been for long enough that a worker's silence means something."""

import time
from collections.abc import Callable
from typing import Any

from shared.telemetry.catalogue import HOUSEKEEPING_ERRORS, REGISTRY_ERRORS
from shared.telemetry.health import Health
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter

log = get_logger(__name__)

SCHEDULE = "schedule"  # what runs the jobs, among their names


class RegistryWatch:
    """Told of every answer and every failure; logs each change once.

    A gap between answers counts as absence: it may have been us who slept, and the workers with us.
    """

    def __init__(
        self,
        health: Health,
        meter: Meter,
        *,
        settle_s: float,
        gap_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._health = health
        self._meter = meter
        self._settle_s = settle_s
        self._gap_s = gap_s
        self._clock = clock
        self._answered_at: float | None = None
        self._there_since: float | None = None

    @property
    def is_settled(self) -> bool:
        """There without a break for `settle_s`, up to now."""
        now = self._clock()
        return (
            self._there_since is not None
            and self._answered_at is not None
            and now - self._answered_at <= self._gap_s
            and now - self._there_since >= self._settle_s
        )

    def job_failed(self, job: str, why: str) -> None:
        """A round of this job was not done."""
        self._meter.count(HOUSEKEEPING_ERRORS)
        if self._health.job_faults.get(job) != why:
            log.error("housekeeping cannot do its work", job=job, why=why)
        self._health.job_faults[job] = why

    def job_done(self, job: str) -> None:
        self._health.job_faults.pop(SCHEDULE, None)  # or no job would be run
        if self._health.job_faults.pop(job, None):
            log.info("housekeeping works again", job=job)

    def details(self) -> dict[str, Any]:
        """For `/readyz`."""
        return {"job_faults": dict(self._health.job_faults)}

    def answered(self) -> None:
        now = self._clock()
        if self._there_since is None or self._answered_at is None or now - self._answered_at > self._gap_s:
            self._there_since = now
        self._answered_at = now
        if self._health.registry_away:
            log.info("registry is back")
        self._health.registry_away = False

    def failed(self, error: BaseException) -> None:
        self._meter.count(REGISTRY_ERRORS)
        if not self._health.registry_away:
            log.warning("registry is away", error=str(error) or type(error).__name__)
        self._health.registry_away = True
        self._there_since = None
