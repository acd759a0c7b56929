"""Where calls and workers are remembered: one contract (`contract.py`), Redis with Lua files, an in-memory twin."""

from collections.abc import Callable

from shared.registry.address import BadAddress
from shared.registry.contract import (
    LapsedSlot,
    Moved,
    Place,
    Registry,
    RegistryAway,
    Reservation,
    TimelineEntry,
    wall_clock_ms,
)
from shared.registry.memory import MemoryRegistry
from shared.registry.redis import RedisRegistry

__all__ = [
    "BadAddress",
    "LapsedSlot",
    "MemoryRegistry",
    "Moved",
    "Place",
    "RedisRegistry",
    "Registry",
    "RegistryAway",
    "Reservation",
    "TimelineEntry",
    "open_registry",
]


def open_registry(url: str, *, clock: Callable[[], int] = wall_clock_ms, settle_ms: int = 0) -> Registry:
    """The registry at this REDIS_URL (see `address.py`). Not async: it connects at the first command.

    Raises `BadAddress` (a `ValueError`) for a URL that cannot be used.
    """
    return RedisRegistry.connect(url, clock=clock, settle_ms=settle_ms)
