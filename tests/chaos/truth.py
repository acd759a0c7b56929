"""What is true about the fleet while calls run, asked of each process itself: too many calls anywhere, slots that stay,
and what Redis, the workers' memory and their sockets disagree on."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import httpx2

from tests.chaos.fleet import ChaosFleet

LOOK_EVERY_S = 0.1
ASK_WORKERS_EVERY_S = 2.0
NOBODY_LEFT_S = 60.0


class Truth:
    """A side task that samples; `over_admitted` is the most calls that any worker ever had above its limit."""

    def __init__(self, fleet: ChaosFleet) -> None:
        self.over_admitted = 0
        self.samples = 0
        self._fleet = fleet
        self._addresses: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch(), name="truth")

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def take_over_admitted(self) -> int | None:
        """The most since the last look; None if no worker could be asked since."""
        most, self.over_admitted = (self.over_admitted if self.samples else None), 0
        self.samples = 0
        return most

    async def _watch(self) -> None:
        asked_at = 0.0
        while True:
            if time.monotonic() - asked_at > ASK_WORKERS_EVERY_S:
                asked_at = time.monotonic()
                await self._look_at_registry()
            await asyncio.gather(*(self._look_at(address) for address in self._addresses.values()))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look_at_registry(self) -> None:
        workers = [worker for worker in await self._fleet.workers() if worker.get("fresh", True)]
        if workers:  # while Redis is away, the workers that were known are still asked
            self._addresses = {worker["worker_id"]: worker["address"] for worker in workers}
        for worker in workers:
            self._count(worker["used"] - self._fleet.shape.calls_per_worker)

    async def _look_at(self, address: str) -> None:
        told = await self._ask(address, "readyz")
        if told is None:
            return
        self.samples += 1
        limit = self._fleet.shape.calls_per_worker
        if told.get("calls", 0) > limit:  # those that are being wound up have given their slots back
            sessions = (await self._ask(address, "sessions") or {}).get("sessions", [])
            self._count(sum(not session["ending"] for session in sessions) - limit)

    def _count(self, over: int) -> None:
        self.over_admitted = max(self.over_admitted, over)

    async def _ask(self, address: str, what: str) -> dict[str, Any] | None:
        token = {"Authorization": f"Bearer {self._fleet.fleet.api_token}"}
        with suppress(httpx2.HTTPError, ValueError):
            return dict((await self._fleet.http.get(f"http://{address}/{what}", headers=token, timeout=1)).json())
        return None

    # -- when a scene is over

    async def wait_for_slots(self, within_s: float) -> tuple[int | None, float]:
        """Slots that are still taken with no call alive, after so long (None: nobody knows); and how long it took."""
        began = time.monotonic()
        used: int | None = None
        while time.monotonic() - began < within_s:
            used = (await self._fleet.fleet_figures()).get("used")
            if used == 0:
                return 0, round(time.monotonic() - began, 1)
            await asyncio.sleep(0.2)
        return used, round(time.monotonic() - began, 1)

    async def drift(self, within_s: float = 10.0) -> int | None:
        """By how much Redis, memory and sockets disagree, and what the fleet says itself: 0, or what stays so long.

        None: somebody who has to be asked does not answer.
        """
        began = time.monotonic()
        drift: int | None = None
        while time.monotonic() - began < within_s:
            drift = await self._drift_now()
            if drift == 0:
                return 0
            await asyncio.sleep(0.3)
        return drift

    async def _drift_now(self) -> int | None:
        figures, workers = await self._fleet.fleet_figures(), await self._fleet.workers()
        if not figures or not workers or figures.get("drift") is None:
            return None
        drift = abs(int(figures["drift"]))
        for worker in workers:
            if not worker["fresh"]:
                drift += worker["used"]
                continue
            told = await self._ask(worker["address"], "sessions")
            if told is None:
                return None
            sessions = told["sessions"]
            streams = sum(session["stream"] == "attached" for session in sessions)
            drift += abs(worker["used"] - len(sessions)) + abs(len(sessions) - streams)
        return drift
