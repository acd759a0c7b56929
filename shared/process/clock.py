"""The registry's time, which is everybody's: asked for with each heartbeat of a process."""

import time

from shared.registry import Registry
from shared.telemetry.catalogue import CLOCK_OFFSET_SECONDS, REGISTRY_SECONDS
from shared.telemetry.meter import Meter


async def sync_clock(registry: Registry, meter: Meter) -> None:
    """Take its time over; how far ours was off, and how long it took to answer, are metrics. Raises `RegistryAway`."""
    began_at = time.monotonic()
    offset_ms = await registry.sync_clock()
    meter.observe(REGISTRY_SECONDS, time.monotonic() - began_at)
    meter.set(CLOCK_OFFSET_SECONDS, offset_ms / 1000)
