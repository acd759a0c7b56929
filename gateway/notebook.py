"""What the gateway has to say of a call, written to its timeline and record after the answer, never before it.

A carrier waits for a webhook's answer with a live caller on the line, so entries are kept for a moment and
written by a side task. They are for people: when the registry is away they are dropped and counted.
"""

import asyncio
from collections import defaultdict
from typing import Any

from shared.calls.timeline import TimelineEvent
from shared.registry import Registry, RegistryAway, TimelineEntry
from shared.telemetry.catalogue import REGISTRY_ERRORS
from shared.telemetry.meter import Meter

MOST_CALLS = 1000  # whose entries wait; more than that means that the registry is in trouble
FLUSH_DEADLINE_S = 2.0
LINGER_S = 0.05  # what comes meanwhile goes along: in a burst of calls answers have the loop to themselves


class Notebook:
    """`write` and `figures` return at once; `run` is the side task that carries them to the registry."""

    def __init__(self, registry: Registry, source: str, meter: Meter) -> None:
        self._registry = registry
        self._source = source
        self._meter = meter
        self._entries: defaultdict[str, list[TimelineEntry]] = defaultdict(list)
        self._figures: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._some = asyncio.Event()

    def write(self, call_id: str, event: TimelineEvent, **data: Any) -> None:
        """An entry for the call's timeline."""
        if call_id in self._entries or len(self._entries) < MOST_CALLS:
            self._entries[call_id].append(TimelineEntry(self._registry.now_ms(), self._source, event, data))
            self._some.set()

    def figures(self, call_id: str, **figures: float) -> None:
        """Figures for the call's record."""
        if call_id in self._figures or len(self._figures) < MOST_CALLS:
            self._figures[call_id].update(figures)
            self._some.set()

    async def run(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(LINGER_S)
            await self._flush()

    async def close(self) -> None:
        """Write what is left, for a moment at most."""
        try:
            async with asyncio.timeout(FLUSH_DEADLINE_S):
                await self._flush()
        except TimeoutError:
            self._meter.count(REGISTRY_ERRORS)

    async def _flush(self) -> None:
        self._some.clear()
        entries, self._entries = self._entries, defaultdict(list)
        figures, self._figures = self._figures, defaultdict(dict)
        try:
            await self._registry.write_down(entries, figures)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
        except asyncio.CancelledError:  # we are to close, which writes what is left
            for call_id, more in self._entries.items():
                entries[call_id] += more
            for call_id, known in self._figures.items():
                figures[call_id].update(known)
            self._entries, self._figures = entries, figures
            raise
