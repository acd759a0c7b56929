"""The fleet under test: `LocalFleet` with a Redis that can suffer, providers faked at the wire, and single processes
whose environment differs. Knows which faults this checkout's fleet can take."""

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Self

import httpx2

from shared.cli.faults import CliFault
from shared.cli.fleet import LocalFleet
from shared.cli.fleet.child import Child
from shared.cli.fleet.environment import ROOT
from shared.cli.fleet.plan import FleetPlan
from shared.cli.up.keeping import keep_up
from shared.settings.fleet import known_names
from tests.chaos.redis_under_fire import RedisUnderFire, SentinelRedis
from tests.chaos.shapes import PLAIN, FleetShape
from tests.fakes.tones import APOLOGY, BUSY, HOLD, tone_of

WORD_S = 0.12  # the fake voice is quick of tongue: the suite has many calls to place
WEBHOOK_SECRET = "chaos-webhook-secret-4711"
SKEWED = Path(__file__).with_name("skewed")


class Fleet(LocalFleet):
    """`LocalFleet`, with settings that differ by process."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.differing: dict[str, dict[str, str]] = {}

    def environment(self, name: str) -> dict[str, str]:
        env = super().environment(name)
        own = self.differing.get(name, {})
        if "CHAOS_CLOCK_OFF_S" in own:
            own = {**own, "PYTHONPATH": os.pathsep.join([str(SKEWED), env["PYTHONPATH"]])}
        return {**env, **own}


def can(option: str) -> bool:
    """Whether this checkout's fleet has an option."""
    return option in {field.name for field in dataclasses.fields(FleetPlan)}


def known(settings: dict[str, str]) -> dict[str, str]:
    """Those settings that this checkout knows."""
    names = known_names()
    return {name: value for name, value in settings.items() if name in names}


class ChaosFleet:
    """An async context manager around everything that a scene needs. `folder` keeps all logs."""

    def __init__(self, path: str, folder: Path, shape: FleetShape = PLAIN, *, gateways: int = 1):
        self.path = path
        self.shape = shape
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.redis: Any = SentinelRedis(folder) if shape.has_sentinel else RedisUnderFire(folder)
        self._stack = AsyncExitStack()
        self.http = httpx2.AsyncClient(timeout=2, trust_env=False)
        options: dict[str, Any] = {"media_path": path, "gateways": gateways, "watchdog": True}
        self.fleet = Fleet(
            workers=shape.workers,
            redis_url=self.redis.url,
            run_dir=folder,
            webhook_secret=WEBHOOK_SECRET,
            ready_within_s=90,
            stop_within_s=5,
            **{name: value for name, value in options.items() if can(name)},
        )
        self.providers_env: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        try:
            await self._stack.enter_async_context(self.http)
            await self.redis.start()
            self._stack.push_async_callback(self.redis.stop)
            env = await self._start_providers()
            self.providers_env = env
            self.fleet.env = {**env, **self._settings()}
            await self._stack.enter_async_context(self.fleet)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        self.awaken()
        await self._stack.aclose()

    def _settings(self) -> dict[str, str]:
        """Defaults wherever a promise speaks of defaults."""
        return {
            "SFVOPI_CALLS_PER_WORKER": str(self.shape.calls_per_worker),
            **self.shape.settings,
            **({"SFVOPI_BOTS": str(self._write_bots())} if self.shape.bots else {}),
            **known(
                {
                    "SFVOPI_APOLOGY_WAV": str(write_tone(self.folder / "apology.wav", APOLOGY)),
                    "SFVOPI_OVERFLOW": "busy",
                    "SFVOPI_BUSY_WAV": str(write_tone(self.folder / "busy.wav", BUSY)),
                    "SFVOPI_HOLD_WAV": str(write_tone(self.folder / "hold.wav", HOLD)),
                    "SFVOPI_MEDIA_PATH": self.path,
                }
            ),
        }

    def _write_bots(self) -> Path:
        path = self.folder / "bots.toml"
        path.write_text(self.shape.bots_file)
        return path

    async def _start_providers(self) -> dict[str, str]:
        """In a process of their own: the callers' event loop has enough to do."""
        log = self.folder / "providers.log"
        argv = [sys.executable, "-m", "tests.fakes.providers", "--json", "--word", str(WORD_S)]
        child = Child("providers", argv, {**os.environ, "PYTHONPATH": str(ROOT)}, ROOT, log)
        await child.start()
        self._stack.push_async_callback(child.end, 0)
        async with asyncio.timeout(20):
            while True:
                with suppress(OSError, ValueError):
                    first, newline, _ = log.read_text().partition("\n")
                    if newline:
                        return dict(json.loads(first)["env"])
                await asyncio.sleep(0.05)

    # -- faults

    def signal(self, name: str, sig: signal.Signals) -> int:
        """Send a signal to the process that does the work; returns when, in Unix ms."""
        at_ms = time.time_ns() // 1_000_000
        with suppress(ProcessLookupError):
            self.fleet.kill(name, sig)
        return at_ms

    def awaken(self) -> None:
        """Nothing of ours stays frozen."""
        for name in [*self.fleet.children]:
            self.signal(name, signal.SIGCONT)

    async def until_ended(self, name: str, within_s: float) -> bool:
        """Whether a process has ended in time."""
        child = self.fleet.children[name]
        try:
            await asyncio.wait_for(child.wait(), within_s)
        except TimeoutError:
            return False
        return True

    async def start_again(self, *names: str, **differing: str) -> None:
        """Start processes that have ended, and wait until the fleet is whole."""
        for name in names:
            if differing:
                self.fleet.differing[name] = differing
            else:
                self.fleet.differing.pop(name, None)
            if not self.fleet.children[name].is_running:
                await self.fleet.start_process(name)
        await self.fleet.wait_until_ready()

    async def heal(self) -> list[str]:
        """Start again whatever has ended, whoever ended it."""
        self.awaken()
        gone = [name for name, child in self.fleet.children.items() if not child.is_running and name != "redis"]
        if gone:
            await self.start_again(*gone)
        return gone

    @contextlib.asynccontextmanager
    async def kept_up(self, say: Callable[[str], None]) -> AsyncIterator[None]:
        """Workers that end are started again, as `sfvopi up` does."""
        keeping = [asyncio.create_task(keep_up(self.fleet, name, say), name=name) for name in self.fleet.worker_names]
        try:
            yield
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)

    @property
    def starts(self) -> int:
        """How often a worker was started. With all of them running, each start after their first was a death before."""
        return sum(self.fleet.generation[name] for name in self.fleet.worker_names)

    async def until_running(self) -> None:
        """Until whoever keeps the workers up has started all that had ended."""
        async with asyncio.timeout(60):
            while not all(self.fleet.children[name].is_running for name in self.fleet.worker_names):
                await asyncio.sleep(0.1)

    async def until_serving(self, count: int) -> None:
        """Until so many workers take calls."""
        async with asyncio.timeout(60):
            while sum(worker["state"] == "serving" and worker["fresh"] for worker in await self.running()) < count:
                await asyncio.sleep(0.1)

    async def until_whole(self) -> None:
        """Until all workers take calls."""
        await self.until_serving(self.shape.workers)

    async def running(self) -> list[dict[str, Any]]:
        """What the fleet says of those workers whose processes run now."""
        alive = {self.fleet.worker_id(n) for n in self.fleet.worker_names if self.fleet.children[n].is_running}
        return [worker for worker in await self.workers() if worker["worker_id"] in alive]

    @property
    def gateway_names(self) -> list[str]:
        return [name for name in self.fleet.children if name.startswith("gateway")]

    # -- questions

    async def calls(self) -> dict[str, dict[str, Any]]:
        """Records of the newest calls, by call id; empty when nobody answers."""
        with suppress(CliFault):
            return {record["call_id"]: record for record in await self.fleet.api.calls(limit=200)}
        return {}

    async def why_afresh(self, call_id: str) -> list[str]:
        """Of a call's sessions that began anew, why each did."""
        with suppress(CliFault):
            timeline = (await self.fleet.api.call(call_id))["timeline"]
            return [entry["data"]["why"] for entry in timeline if entry["event"] == "afresh"]
        return []

    async def workers(self) -> list[dict[str, Any]]:
        with suppress(CliFault):
            return await self.fleet.api.workers()
        return []

    async def fleet_figures(self) -> dict[str, Any]:
        with suppress(CliFault):
            return await self.fleet.api.fleet()
        return {}

    def name_of(self, worker_id: str) -> str:
        """The process behind a worker's id."""
        return next((name for name, known_id in self.fleet.worker_ids.items() if known_id == worker_id), "")


def write_tone(path: Path, voice: int) -> Path:
    """A prompt that a caller can tell by its pitch."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(tone_of(voice, 8000, 1.5))
    return path
