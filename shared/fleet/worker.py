"""What a worker says of itself at every heartbeat."""

from dataclasses import dataclass
from enum import StrEnum


class WorkerState(StrEnum):
    """What a worker can be asked for. Only SERVING takes new calls."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker, by its own word. `address` is IP:port, where streams and the internal API are reached."""

    worker_id: str
    address: str
    state: WorkerState
    capacity: int
    version: str = ""
    started_at_ms: int = 0
    schema: int = 1


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as the registry sees it: its record, its slots in use, and until when its lease holds (Unix ms)."""

    record: WorkerRecord
    used: int
    lease_until_ms: int

    def is_fresh(self, now_ms: int) -> bool:
        return now_ms < self.lease_until_ms

    def can_take(self, now_ms: int) -> bool:
        """Serving, fresh, and below capacity."""
        return self.record.state is WorkerState.SERVING and self.is_fresh(now_ms) and self.used < self.record.capacity
