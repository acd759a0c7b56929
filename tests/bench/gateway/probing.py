"""The same callers, who press a key now and then: the echo answers it at once, and that is a round trip.

Many of them would be a load of their own: each caller does it once a second.
"""

import time
from collections import deque
from typing import Any

from shared.carrier.load import wire
from shared.carrier.load.call import Call
from tests.bench.echo import KEY_PLAYED

EVERY_FRAMES = 50
_KEY = b'{"event":"dtmf","streamId":"S","dtmf":{"track":"inbound","digit":"5"}}'


class ProbingCall(Call):
    """`trips` are (asked at, seconds) of every key that was answered."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.trips: list[tuple[float, float]] = []
        self._asked: deque[float] = deque()
        self._frames = self.number * 7  # not all in the same tick

    def next_frame(self, now: float) -> bytes:
        data = super().next_frame(now)
        self._frames += 1
        if self._frames % EVERY_FRAMES:
            return data
        self._asked.append(time.monotonic())
        return data + wire.frame(_KEY)

    def _take(self, message: dict[str, Any], now: float) -> bytes:
        if message.get("name") == KEY_PLAYED:
            asked_at = self._asked.popleft()
            self.trips.append((asked_at, now - asked_at))
            return b""
        return super()._take(message, now)
