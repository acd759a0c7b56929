"""Where this worker stands: what it says of itself with each heartbeat, and what it hears in return.

It offers what its load allows, counts its calls in three places, and remembers what the fleet knows of the carrier.
"""

import asyncio
import time
from collections.abc import Callable

from shared.fleet.worker import Heard, Order
from shared.settings import WorkerSettings
from shared.telemetry.catalogue import ACTIVE_CALLS, CALLS_BY_SOURCE, CALLS_DRIFT, CAPACITY, OFFERED_CALLS
from shared.telemetry.health import Health
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from worker.drift import Drift, Sample
from worker.headroom import memory_reader
from worker.load import Load, Pressure
from worker.sessions import Sessions


class Standing:
    """`changed` is called when the fleet should hear of us before the next heartbeat."""

    def __init__(
        self,
        settings: WorkerSettings,
        sessions: Sessions,
        meter: Meter,
        health: Health,
        open_streams: Callable[[], int],
    ) -> None:
        self.ordered = asyncio.Event()
        """An operator wants this worker to leave."""
        self.moves = asyncio.Event()
        """He wants its calls to be moved, too."""
        self.changed: Callable[[], None] = lambda: None
        self._sessions = sessions
        self._meter = meter
        self._health = health
        self._open_streams = open_streams
        self._reconnects = settings.carrier_reconnects
        self._has_seen_reconnect = False
        self._load = Load(settings.lag_limit_ms / 1000, memory_reader(settings.memory_limit_mb), self._pressure_changed)
        self._drift = Drift(settings.lease_s + settings.reconnect_window_s)
        self._log = get_logger(__name__)

    # -- what it says

    @property
    def offers(self) -> int:
        """Up to how many calls new ones are taken."""
        return self._load.offers(self._sessions.live, self._sessions.capacity)

    @property
    def drift(self) -> int:
        """By how many calls Redis, memory and sockets disagree, and do not stop to."""
        return self._drift.calls

    @property
    def has_room(self) -> bool:
        """Whether a call that nobody is known to have reserved a slot for may come; its place is kept already."""
        others = self._sessions.live - 1
        return others < self._load.offers(others, self._sessions.capacity)

    def saw_lag(self, late_s: float) -> None:
        """The event loop woke so late."""
        self._load.saw_lag(late_s, time.monotonic())

    def _pressure_changed(self, pressure: Pressure, lag_s: float) -> None:
        tell = self._log.warning if pressure else self._log.info
        tell("load changed", offers=self.offers, pressure=pressure.name.lower(), lag_ms=round(lag_s * 1000))
        self.changed()

    def measure(self) -> None:
        """What the metrics say of it."""
        serves = self._health.started and not self._health.draining
        self._meter.set(ACTIVE_CALLS, len(self._sessions))
        self._meter.set(CAPACITY, self._sessions.capacity if serves else 0)
        self._meter.set(OFFERED_CALLS, self.offers if serves else 0)

    # -- what it hears

    @property
    def carrier_reconnects(self) -> bool:
        """Whether a stream that we close comes back."""
        return self._has_seen_reconnect if self._reconnects == "auto" else self._reconnects == "yes"

    @property
    def is_reconnect_news(self) -> bool:
        """Whether the fleet does not know yet that the carrier reconnects."""
        return not self._has_seen_reconnect

    def hear(self, heard: Heard | None) -> None:
        """The answer to a heartbeat; None when the registry is away."""
        if heard is None:
            self._drift.restart()
        else:
            self._count(heard)
            self._has_seen_reconnect = heard.carrier_reconnects
            if heard.order is not Order.NONE:
                self.ordered.set()
            if heard.order is Order.HAND_OVER:
                self.moves.set()
        self._meter.set(CALLS_DRIFT, self.drift)

    def _count(self, heard: Heard) -> None:
        sessions = self._sessions.all()
        sample = Sample(
            registry=sum(self._sessions.has_had(call_id) for call_id in heard.slots),
            memory=sum(session.ending is None for session in sessions),
            sockets=self._open_streams(),
            attached=sum(session.stream.socket is not None for session in sessions),
        )
        self._drift.add(sample, time.monotonic())
        for source, calls in (
            ("registry", sample.registry),
            ("memory", sample.memory),
            ("sockets", sample.sockets),
        ):
            self._meter.set(CALLS_BY_SOURCE, calls, source=source)
