"""docker-compose.yml brought up from a copy of this checkout, with its settings, secrets and certificate; and its
processes, as the host sees them."""

import ipaddress
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2

from shared.cli.api import FleetApi
from shared.cli.faults import CliFault
from shared.cli.fleet.environment import ROOT
from shared.cli.fleet.plan import WebhookUrls
from shared.cli.fleet.ports import free_port
from tests.deploy.engine import Engine
from tests.deploy.shell import run, run_beside

PROJECT = "sfvopi-deploy-test"
CALLS_PER_WORKER = 10
FLEET = ("nginx", "gateway", "worker", "housekeeping", "redis")


class Stack:
    """One compose project. `env` are variables of the compose file, `providers` settings of the workers."""

    def __init__(self, engine: Engine, folder: Path, env: Mapping[str, str], providers: Mapping[str, str]) -> None:
        self.engine = engine
        self.folder = folder / "project"
        self.address = f"{host_address(engine)}:{free_port()}"  # of nginx, for the host and for containers
        self.prometheus_port = free_port()
        self.worker_image = f"{PROJECT}-worker"
        self.images = [f"{PROJECT}-gateway", self.worker_image]
        names = {"GATEWAY_IMAGE": self.images[0], "WORKER_IMAGE": self.worker_image}
        self._env = {**engine.env, **env, **names, "COMPOSE_PROJECT_NAME": PROJECT}
        copy_checkout(self.folder)
        keys = {name: value for name, value in providers.items() if name.endswith("_KEY")}
        (self.folder / "secrets").mkdir(mode=0o700)
        for name, value in keys.items():
            (self.folder / "secrets" / name).write_text(value)
        names = {"PUBLIC_HOST": "bots.example.com", "PUBLIC_ADDRESS": self.address.partition(":")[0]}
        run(["sh", "deploy/docker/secrets.sh"], cwd=self.folder, env={**self._env, **names})
        settings = {
            "HTTPS_PORT": self.address,
            "PUBLIC_WSS_URL": f"wss://{self.address}/ws",
            "PROMETHEUS_PORT": str(self.prometheus_port),
            "ALERTMANAGER_PORT": str(free_port()),
            "SFVOPI_CALLS_PER_WORKER": str(CALLS_PER_WORKER),
            **{name: value for name, value in providers.items() if name not in keys},
        }
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    # -- compose

    def compose(self, *arguments: str, **env: str) -> str:
        return run(["docker", "compose", *arguments], env={**self._env, **env}, cwd=self.folder)

    async def compose_beside(self, *arguments: str, **env: str) -> str:
        return await run_beside(["docker", "compose", *arguments], env={**self._env, **env}, cwd=self.folder)

    async def scale(self, workers: int) -> None:
        await self.compose_beside(
            "up", "-d", "--no-deps", "--no-recreate", "--no-build", "--scale", f"worker={workers}", "worker"
        )

    async def roll(self, service: str) -> None:
        """As an operator does it."""
        await run_beside(["sh", "deploy/docker/roll.sh", service], env=self._env, cwd=self.folder)

    def keep_logs(self, folder: Path) -> None:
        """What every container has written."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, container in self.containers().items():
            done = subprocess.run(
                ["docker", "logs", container["Id"]],
                env=self._env,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            (folder / f"{name}.log").write_text(done.stdout + done.stderr)

    def down(self) -> None:
        """Nothing of it is left."""
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")
        if not self.engine.is_ours:
            for image in self.images:
                self.engine.docker("image", "rm", "--force", image)

    # -- what is up

    def containers(self, service: str = "") -> dict[str, dict[str, Any]]:
        """What the engine knows of each container, by name; those that are down, too."""
        labels = [f"label=com.docker.compose.project={PROJECT}"]
        labels += [f"label=com.docker.compose.service={service}"] if service else []
        found = self.engine.docker("ps", "-aq", *(word for label in labels for word in ("--filter", label))).split()
        told = json.loads(self.engine.docker("inspect", *found)) if found else []
        return {container["Name"].lstrip("/"): container for container in told}

    def running(self, service: str) -> dict[str, dict[str, Any]]:
        return {name: box for name, box in self.containers(service).items() if box["State"]["Running"]}

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text().strip()

    @property
    def urls(self) -> WebhookUrls:
        """As the carrier has them."""
        return WebhookUrls.at(f"https://{self.address}", self.secret("SFVOPI_WEBHOOK_SECRETS"))

    @property
    def certificate(self) -> Path:
        return self.folder / "secrets/tls/fullchain.pem"

    async def ask(self, what: str) -> Any:
        """Of any gateway: `workers`, `fleet` or `calls`; None when none answers."""
        for container in self.running("gateway").values():
            async with FleetApi(f"http://{address_of(container)}:9000", self.secret("SFVOPI_API_TOKEN")) as api:
                try:
                    return await getattr(api, what)()
                except CliFault:
                    continue
        return None

    async def scraped(self) -> list[str]:
        """What Prometheus says of each of its targets: up, down or unknown."""
        async with httpx2.AsyncClient(trust_env=False, timeout=5) as http:
            with suppress(httpx2.HTTPError, ValueError):
                told = (await http.get(f"http://127.0.0.1:{self.prometheus_port}/api/v1/targets")).json()
                return [target["health"] for target in told["data"]["activeTargets"]]
        return []

    def container_of(self, worker: Mapping[str, Any]) -> str:
        """The container in which a worker that the registry knows runs."""
        host = str(worker["address"]).rpartition(":")[0]
        return next((name for name, box in self.running("worker").items() if address_of(box) == host), "")

    # -- harm, from the host, so that the engine sees a process that died by itself

    def signal(self, name: str, sig: signal.Signals) -> None:
        """To the process that works: of a worker, the watchdog's child."""
        container = self.containers()[name]
        pid = int(container["State"]["Pid"])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        is_worker = container["Config"]["Labels"]["com.docker.compose.service"] == "worker"
        os.kill(int(children[0]) if is_worker and children else pid, sig)


def address_of(container: Mapping[str, Any]) -> str:
    """Where the host, nginx and gateways reach a container."""
    networks = container["NetworkSettings"]["Networks"]
    return str(networks.get(f"{PROJECT}_edge", {}).get("IPAddress", ""))


def copy_checkout(folder: Path) -> None:
    """What git knows of this checkout, and what is new in it."""
    listed = run(["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def host_address(engine: Engine) -> str:
    """Where containers reach this machine."""
    subnet = engine.docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}")
    return str(ipaddress.ip_network(subnet)[1])
