"""How long one attachment waits for the registry, all its questions together."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from shared.registry.contract import RegistryAway
from shared.telemetry.catalogue import REGISTRY_ERRORS
from shared.telemetry.meter import Meter

T = TypeVar("T")

PATIENCE_S = 1.2  # with the wait for an older stream, less than a gateway waits for a worker to accept


class Patience:
    """Asks the registry, and goes on without it."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._ends_at = asyncio.get_running_loop().time() + PATIENCE_S

    async def or_else(self, asked: Awaitable[T], otherwise: T) -> T:
        """The registry's answer, or ours when it is away, or has taken too long by now."""
        try:
            async with asyncio.timeout_at(self._ends_at):
                return await asked
        except (RegistryAway, TimeoutError):
            self._meter.count(REGISTRY_ERRORS)
            return otherwise
