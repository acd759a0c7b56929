"""The subjects, as real processes: what is measured is pinned to one core, all else to another one.

Our worker's gateway and Redis stand on the other core while streams go to the worker directly; relayed, the gateway
shares the worker's core, since then the media is its work, too.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

import httpx2

from shared.carrier.load.client import Target
from shared.cli.fleet import LocalFleet
from shared.cli.fleet.child import Child
from shared.cli.fleet.environment import ROOT, child_environment
from shared.cli.fleet.plan import Programs
from shared.cli.fleet.ports import free_port
from worker.capacity.loop_lag import FILE, LagFile
from worker.capacity.processes import put_first

READY_WITHIN_S = 60
MOST_CALLS = 400  # slots of our worker: never the limit here
ALL_CORES = sorted(os.sched_getaffinity(0))  # before anything is pinned
CORES_FOR_TWO = 4  # two subjects, the client, and everything else


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core the subject has, and which all else."""

    subject: int
    load: int

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """The first two; on a machine of one core both are the same, and the report shows it."""
        return cls(ALL_CORES[0], ALL_CORES[1 % len(ALL_CORES)])

    def two_for_subjects(self) -> list[int]:
        """The subject's, and one more that is not the client's. Raises RuntimeError where there is none to spare."""
        others = sorted(set(ALL_CORES) - {self.subject, self.load})
        if len(ALL_CORES) < CORES_FOR_TWO:
            raise RuntimeError(f"two workers on two cores are measured on {CORES_FOR_TWO} cores or more")
        return [self.subject, others[0]]


class Subject:
    """An async context manager. `pids` are what is measured, `lag` their event loops' lateness."""

    def __init__(self, name: str, cores: Cores) -> None:
        self.name = name
        self.cores = cores
        self.folder = Path(tempfile.mkdtemp(prefix=f"sfvopi-bench-{name}-"))
        self.lags: dict[str, LagFile] = {}
        self.target: Target
        self.goes_first = False

    @property
    def pids(self) -> list[int]:
        raise NotImplementedError

    @property
    def core(self) -> int:
        return self.cores.subject

    def lag_file(self, process: str) -> str:
        """Where this process' sampler writes."""
        path = self.folder / f"{process}.lag"
        self.lags[process] = LagFile(path)
        return str(path)

    async def start(self) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        try:
            await self.start()
            self.goes_first = min(put_first(pid) for pid in self.pids)
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        await self.stop()
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)


class Server(Subject):
    """One process that answers webhooks and streams on one port: the guide's, the echo."""

    def __init__(self, name: str, cores: Cores, module: str, *options: str) -> None:
        super().__init__(name, cores)
        port = free_port()
        base = f"http://127.0.0.1:{port}/webhook"
        self.target = Target(f"{base}/answer", f"{base}/hangup")
        argv = [sys.executable, "-m", module, "--port", str(port), *options]
        env = {**child_environment(with_settings=False), FILE: self.lag_file("server")}
        self._child = Child(name, argv, env, ROOT, self.folder / "log")

    @property
    def pids(self) -> list[int]:
        return [self._child.pid]

    async def start(self) -> None:
        with pinned_to(self.cores.subject):
            await self._child.start()
        async with asyncio.timeout(READY_WITHIN_S), httpx2.AsyncClient(trust_env=False) as http:
            while True:
                if not self._child.is_running:
                    raise RuntimeError(f"{self.name} ended at once:\n{self._child.log.read_text()[-2000:]}")
                try:
                    await http.post(self.target.hangup_url, json={"call_uuid": "nobody"})
                    return
                except httpx2.HTTPError:
                    await asyncio.sleep(0.1)

    async def stop(self) -> None:
        await self._child.end(within_s=3)


class OurFleet(LocalFleet):
    """Each process on its core, with its own sampler."""

    measured: Sequence[str] = ()
    cores: Cores
    core_of: Mapping[str, int] = MappingProxyType({})  # of those that do not have the subject's
    lag_files: dict[str, str]

    def environment(self, name: str) -> dict[str, str]:
        env = super().environment(name)
        return {**env, FILE: self.lag_files[name]} if name in self.lag_files else env

    async def start_process(self, name: str) -> None:
        core = self.core_of.get(name, self.cores.subject) if name in self.measured else self.cores.load
        with pinned_to(core):
            await super().start_process(name)


class Ours(Subject):
    """A gateway, a worker, Redis. Direct: the gateway is asked for the way, as nginx asks, and has no part in media."""

    def __init__(
        self, name: str, cores: Cores, *, is_relayed: bool = False, bot: str = "bot", worker_cores: Sequence[int] = ()
    ) -> None:
        super().__init__(name, cores)
        self._fleet = OurFleet(
            workers=len(worker_cores) or 1,
            housekeeping=False,
            bot=f"tests.bench.bot:{bot}",
            run_dir=self.folder,
            ready_within_s=READY_WITHIN_S,
            stop_within_s=1,
            programs=Programs(gateway=(sys.executable, "-m", "tests.bench.gateway_process")),
            env={
                "SFVOPI_CALLS_PER_WORKER": str(MOST_CALLS),
                "SFVOPI_LAG_LIMIT_MS": "0",  # what is too much is judged here, not by the worker
                "SFVOPI_MEDIA_PATH": "relayed" if is_relayed else "direct",
                "SFVOPI_OVERFLOW": "reject",
            },
        )
        self._fleet.cores = cores
        self._fleet.measured = [*self._fleet.worker_names, *(["gateway"] if is_relayed else [])]
        self._fleet.core_of = dict(zip(self._fleet.worker_names, worker_cores, strict=False))
        self._fleet.lag_files = {process: self.lag_file(process) for process in self._fleet.measured}
        route_url = "" if is_relayed else f"{self._fleet.api_url}/route"
        self.target = Target(self._fleet.answer_url, self._fleet.hangup_url, route_url)

    @property
    def pids(self) -> list[int]:
        """With the watchdog above the worker."""
        fleet = self._fleet
        pids = {fleet.children[name].pid for name in fleet.measured}
        return sorted(pids | {fleet.pid(name) for name in fleet.measured})

    async def start(self) -> None:
        await self._fleet.start()

    async def stop(self) -> None:
        await self._fleet.drain(1)
        await self._fleet.close()


class pinned_to:
    """Children that are started meanwhile run on this core, and so does the starter itself."""

    def __init__(self, core: int) -> None:
        self._core = core

    def __enter__(self) -> None:
        self._before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self._core})

    def __exit__(self, *error: object) -> None:
        os.sched_setaffinity(0, self._before)


GUIDE = "tests.bench.guide"
MAKERS: dict[str, Callable[[Cores], Subject]] = {
    "ours-direct": lambda cores: Ours("ours-direct", cores),
    "ours-relayed": lambda cores: Ours("ours-relayed", cores, is_relayed=True),
    "ours-two-workers": lambda cores: Ours("ours-two-workers", cores, worker_cores=[cores.subject] * 2),
    "ours-two-cores": lambda cores: Ours("ours-two-cores", cores, worker_cores=cores.two_for_subjects()),
    "ours-smart-turn": lambda cores: Ours("ours-smart-turn", cores, bot="with_smart_turn"),
    "guide": lambda cores: Server("guide", cores, GUIDE),
    "guide-no-smart-turn": lambda cores: Server("guide-no-smart-turn", cores, GUIDE, "--no-smart-turn"),
    "echo": lambda cores: Server("echo", cores, "tests.bench.echo"),
}
