"""Is this process alive, is it ready, and if not, why: an enum that /readyz, metrics and `sfvopi` speak."""

import time
from dataclasses import dataclass, field
from enum import StrEnum


class Readiness(StrEnum):
    """Ready, or the first reason why not."""

    READY = "ready"
    STARTING = "starting"
    DRAINING = "draining"
    REGISTRY_AWAY = "registry_away"
    SIDE_TASK_DIED = "side_task_died"
    JOB_FAILED = "job_failed"  # housekeeping's last round was not done
    BOT_FAILED = "bot_failed"  # no bot can run here: `/readyz` says why


@dataclass
class Health:
    """What the process knows of itself. Whoever learns something sets it; `/readyz` reads it."""

    started: bool = False
    registry_away: bool = False
    bot_failed: bool = False
    job_faults: dict[str, str] = field(default_factory=dict)  # job of housekeeping → why its last round was not done
    dead_tasks: list[str] = field(default_factory=list)
    drains_since: float | None = None  # monotonic

    def begin_draining(self) -> None:
        """No more is to be taken."""
        self.drains_since = self.drains_since or time.monotonic()

    @property
    def draining(self) -> bool:
        return self.drains_since is not None

    @property
    def draining_s(self) -> float:
        """For how long it has been draining; 0 if it does not."""
        return 0.0 if self.drains_since is None else time.monotonic() - self.drains_since

    @property
    def readiness(self) -> Readiness:
        if self.draining:
            return Readiness.DRAINING
        if self.dead_tasks:
            return Readiness.SIDE_TASK_DIED
        if self.bot_failed:
            return Readiness.BOT_FAILED
        if not self.started:
            return Readiness.STARTING
        if self.registry_away:
            return Readiness.REGISTRY_AWAY
        return Readiness.JOB_FAILED if self.job_faults else Readiness.READY
