"""Prometheus and Alertmanager as child processes, with the committed files: durations scaled, addresses put in."""

import asyncio
import contextlib
import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import yaml
from aiohttp import web

from deploy.monitoring.files import DEPLOY, alert_rules, recording_rules
from deploy.monitoring.promql import Clock
from shared.cli.fleet.ports import free_port

READY_S = 30.0
TELLING_S = 3.0  # from an alert that fires to whoever is told
Points = dict[str, list[tuple[float, float]]]


class Watchers:
    """What they know. `told` holds, by receiver, the alerts that Alertmanager has sent on; `kept_back` those that it
    did not send, since another one says it all."""

    def __init__(self, prometheus: str, alertmanager: str) -> None:
        self.told: defaultdict[str, set[str]] = defaultdict(set)
        self.kept_back: set[str] = set()
        self._alertmanager = f"{alertmanager}/api/v2/alerts"
        self.began_at = time.time()
        self._http = httpx2.AsyncClient(base_url=prometheus, timeout=20)

    async def ask(self, path: str, **query: Any) -> Any:
        """Prometheus' answer. Raises for one that is an error."""
        answer = await self._http.get(f"/api/v1/{path}", params=query)
        answer.raise_for_status()
        return answer.json()["data"]

    async def firing(self) -> set[str]:
        """Names of alerts that fire now."""
        found = await self.ask("alerts")
        return {each["labels"]["alertname"] for each in found["alerts"] if each["state"] == "firing"}

    async def until_firing(self, *names: str, within_s: float) -> dict[str, float]:
        """How many seconds it took, for those that came to fire."""
        began, seen = time.monotonic(), dict[str, float]()
        while len(seen) < len(names) and time.monotonic() - began < within_s:
            for name in await self.firing() & set(names):
                seen.setdefault(name, round(time.monotonic() - began, 1))
            await asyncio.sleep(0.5)
        if names:
            await asyncio.sleep(TELLING_S)
            known = (await self._http.get(self._alertmanager)).json()
            self.kept_back |= {each["labels"]["alertname"] for each in known if each["status"]["inhibitedBy"]}
        return seen

    async def range(self, expression: str, step_s: float = 2.0) -> Points:
        """Every series of the whole run: its labels as text, its points (values that are numbers)."""
        found = await self.ask("query_range", query=expression, start=self.began_at, end=time.time(), step=step_s)
        return {
            ", ".join(f"{name}={value}" for name, value in sorted(each["metric"].items())): [
                (float(at), float(value)) for at, value in each["values"] if math.isfinite(float(value))
            ]
            for each in found["result"]
        }

    async def targets(self) -> set[str]:
        """`component` of every process that is scraped without an error."""
        found = await self.ask("targets")
        return {each["labels"]["component"] for each in found["activeTargets"] if each["health"] == "up"}

    async def take(self, request: web.Request) -> web.Response:
        """Alertmanager's webhook."""
        for alert in (await request.json())["alerts"]:
            if alert["status"] == "firing":
                self.told[request.match_info["receiver"]].add(alert["labels"]["alertname"])
        return web.Response()

    async def close(self) -> None:
        await self._http.aclose()


@contextlib.asynccontextmanager
async def watch(folder: Path, data: Path, gateway: str, api_token: str, scale: float) -> AsyncIterator[Watchers]:
    """Watch the fleet of this gateway (its internal URL). `data`: Prometheus' own."""
    prometheus, alertmanager, receiver = (free_port() for _ in range(3))
    watchers = Watchers(f"http://127.0.0.1:{prometheus}", f"http://127.0.0.1:{alertmanager}")
    app = web.Application()
    app.router.add_post("/{receiver}", watchers.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", receiver).start()
    (folder / "api_token").write_text(api_token)
    write_prometheus(folder, gateway, alertmanager, scale)
    write_alertmanager(folder, receiver)
    try:
        async with (
            _running(
                folder,
                "prometheus-alertmanager",
                f"--config.file={folder}/alertmanager.yml",
                f"--storage.path={folder}/alertmanager",
                f"--web.listen-address=127.0.0.1:{alertmanager}",
                "--cluster.listen-address=",
            ),
            _running(
                folder,
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={data}",
                f"--web.listen-address=127.0.0.1:{prometheus}",
                "--enable-feature=exemplar-storage",
            ),
        ):
            await _until_ready(f"http://127.0.0.1:{prometheus}/-/ready")
            watchers.began_at = time.time()
            yield watchers
    finally:
        await watchers.close()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def recall(folder: Path, data: Path) -> AsyncIterator[tuple[Watchers, float, float]]:
    """A Prometheus that scrapes nothing, over the data of a run that is over: and when that began and ended."""
    address = f"127.0.0.1:{free_port()}"
    watchers = Watchers(f"http://{address}", alertmanager="")
    (folder / "prometheus.yml").write_text("global: {}")
    options = (f"--storage.tsdb.path={data}", f"--web.listen-address={address}")
    try:
        async with _running(folder, "prometheus", f"--config.file={folder}/prometheus.yml", *options):
            await _until_ready(f"http://{address}/-/ready")
            head = (await watchers.ask("status/tsdb"))["headStats"]
            yield watchers, head["minTime"] / 1000, head["maxTime"] / 1000
    finally:
        await watchers.close()


def write_prometheus(folder: Path, gateway: str, alertmanager_port: int, scale: float) -> None:
    """The committed configuration, with short pauses and addresses of this machine; its rules, scaled."""
    settings = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    settings["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{alertmanager_port}"]
    discovery = settings["scrape_configs"][0]["http_sd_configs"][0]
    discovery |= {"url": f"{gateway}/api/targets", "refresh_interval": "1s"}
    discovery["authorization"]["credentials_file"] = str(folder / "api_token")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    clock = Clock(scale)
    (folder / "recording-rules.yml").write_text(yaml.safe_dump(recording_rules(clock)))
    (folder / "alert-rules.yml").write_text(yaml.safe_dump(alert_rules(clock)))


def write_alertmanager(folder: Path, port: int) -> None:
    """The committed configuration, in a hurry, with receivers of our own."""
    settings = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())
    for route in (settings["route"], *settings["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "1s"}
    for receiver in settings["receivers"]:
        receiver["webhook_configs"][0]["url"] = f"http://127.0.0.1:{port}/{receiver['name']}"
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(settings))


@contextlib.asynccontextmanager
async def _running(folder: Path, program: str, *arguments: str) -> AsyncIterator[None]:
    with (folder / f"{program}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(program, *arguments, stdout=log, stderr=log)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _until_ready(url: str) -> None:
    async with httpx2.AsyncClient() as http, asyncio.timeout(READY_S):
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                if (await http.get(url)).status_code == 200:
                    return
            await asyncio.sleep(0.1)
