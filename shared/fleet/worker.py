"""What a worker says of itself at every heartbeat."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


def seat_name(worker_id: str, started_at_ms: int) -> str:
    """One start of one worker: what a session is in, and what dies with its process."""
    return f"{worker_id}@{started_at_ms}"


def worker_of(seat: str) -> str:
    """The worker of a seat; empty for what is none."""
    return seat.rpartition("@")[0]


class WorkerState(StrEnum):
    """What a worker can be asked for. Only SERVING takes new calls."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker, by its own word. `address` is IP:port, where streams and the internal API are reached.

    `capacity` is never exceeded. `offers` is how far it goes now, new calls and living ones together, if less.
    """

    worker_id: str
    address: str
    state: WorkerState
    capacity: int
    version: str = ""
    started_at_ms: int = 0
    schema: int = 1
    offers: int | None = None  # a worker that says nothing of it offers its capacity
    drift: int = 0  # calls on which Redis, its memory and its sockets disagree, for longer than they may
    eta_s: int | None = None  # while it drains: until its last call ends
    bots: tuple[str, ...] | None = None  # those that it can run; None: whichever is asked for
    builds: Mapping[str, str] = field(default_factory=dict)  # its bots, each with the fingerprint of its code

    @property
    def seat(self) -> str:
        """This start of this worker."""
        return seat_name(self.worker_id, self.started_at_ms)

    @property
    def offered(self) -> int:
        """How many calls it may have for new ones to be placed on it."""
        return self.capacity if self.offers is None else min(self.offers, self.capacity)

    def can_run(self, bot: str) -> bool:
        """Whether calls of this bot (empty: not known which) may be placed on it."""
        return self.bots is None or not bot or bot in self.bots


class Order(StrEnum):
    """What an operator has asked a worker to do. The truth stands in the registry until the worker is gone."""

    NONE = ""
    DRAIN = "drain"
    HAND_OVER = "handover"  # drain, and move what can be moved at once


@dataclass(frozen=True, slots=True)
class Heard:
    """What a worker hears with each heartbeat: the slots on it that count, by call, and what the fleet knows."""

    slots: frozenset[str] = frozenset()
    order: Order = Order.NONE
    carrier_reconnects: bool = False  # it was seen to bring a stream again that it had lost


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as the registry sees it: its record, its slots in use, and until when its lease holds (Unix ms)."""

    record: WorkerRecord
    used: int
    lease_until_ms: int

    def is_fresh(self, now_ms: int) -> bool:
        return now_ms < self.lease_until_ms

    def can_take(self, now_ms: int, bot: str = "") -> bool:
        """Serving, fresh, below what it offers, and able to run the bot."""
        is_open = self.record.state is WorkerState.SERVING and self.is_fresh(now_ms)
        return is_open and self.used < self.record.offered and self.record.can_run(bot)
