"""A container engine: the one that is there, or one that is installed and started for this run and leaves no trace.

Installed only as root, on Debian, with SETUP_ENGINE=1. Its data, sockets and configuration are in a folder of its own;
its packages, its bridge and its packet filter's rules go with it.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.shell import CommandFailed, run, say

PACKAGES = ("docker.io", "iptables", "iproute2", "debootstrap")
PLUGINS = ("docker-compose", "docker-buildx")
PLUGINS_FROM = "trixie"  # the first Debian that has Compose v2
STARTS_WITHIN_S = 60
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
NO_RULES = {
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
}


class NoEngine(Exception):
    """No engine can run here, for this reason."""


@dataclass(frozen=True)
class Engine:
    """How `docker` is called. `is_ours`: it goes when the run is over."""

    env: dict[str, str]
    is_ours: bool

    def docker(self, *arguments: str, within_s: float = 900) -> str:
        return run(["docker", *arguments], env=self.env, within_s=within_s).strip()


@contextmanager
def engine(folder: Path, *, may_install: bool) -> Iterator[Engine]:
    """An engine with Compose v2. Raises `NoEngine`."""
    present = Engine(dict(os.environ), is_ours=False)
    why = missing(present)
    if not why and os.geteuid():
        raise NoEngine("the processes in its containers are killed from outside, which needs root")
    if not why:
        say(f"the engine that is here: {present.docker('version', '--format', '{{.Server.Version}}')}")
        yield present
        return
    if not may_install:
        raise NoEngine(f"{why}; SETUP_ENGINE=1 installs and starts one, as root on Debian, and removes it afterwards")
    if os.geteuid() or not shutil.which("apt-get"):
        raise NoEngine(f"{why}; SETUP_ENGINE=1 needs root and apt")
    with installed(PACKAGES), daemon(folder) as ours:
        add_plugins(folder, ours)
        if why := missing(ours):
            raise NoEngine(why)
        yield ours


def missing(engine: Engine) -> str:
    """Why this engine cannot be used; empty if it can."""
    try:
        engine.docker("info", "--format", "{{.ServerVersion}}", within_s=30)
        engine.docker("compose", "version", within_s=30)
        engine.docker("buildx", "version", within_s=30)
    except CommandFailed as failed:
        return str(failed).splitlines()[-1]
    return ""


@contextmanager
def installed(names: tuple[str, ...]) -> Iterator[None]:
    """These packages of the machine's own distribution; those that were not here are removed again."""
    apt = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *names]
    try:
        run(["apt-get", "update", "-qq"], env=apt)
        planned = run([*install, "--dry-run"], env=apt)
        added = [line.split()[1] for line in planned.splitlines() if line.startswith("Inst ")]
        say(f"installing {len(added)} packages")
        run(install, env=apt)
    except CommandFailed as failed:
        raise NoEngine(f"an engine could not be installed: {failed}") from None
    try:
        yield
    finally:
        if added:
            say(f"removing {len(added)} packages")
            run(["apt-get", "purge", "-y", "-qq", *added], env=apt)


@contextmanager
def daemon(folder: Path) -> Iterator[Engine]:
    """dockerd with everything it keeps below `folder`."""
    try:
        rules, forwards, links = run(["iptables-save"]), FORWARDING.read_text(), bridges()
    except (CommandFailed, OSError) as failed:
        raise NoEngine(f"this machine's network may not be changed: {failed}") from None
    socket, log = folder / "docker.sock", folder / "dockerd.log"
    argv = ["dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec"]
    argv += ["--pidfile", folder / "docker.pid", "--host", f"unix://{socket}"]
    with log.open("wb") as file:
        process = subprocess.Popen(argv, stdout=file, stderr=file, start_new_session=True)
    ours = Engine(
        {**os.environ, "DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": str(folder / "client")}, is_ours=True
    )
    try:
        until = time.monotonic() + STARTS_WITHIN_S
        while True:
            with suppress(CommandFailed):
                ours.docker("info", within_s=10)
                break
            if process.poll() is not None or time.monotonic() > until:
                told = log.read_text(errors="replace").splitlines()[-3:]
                raise NoEngine("the engine did not start: " + " / ".join(told))
            time.sleep(0.3)
        yield ours
    finally:
        with suppress(CommandFailed):
            if left := ours.docker("ps", "-aq").split():
                ours.docker("rm", "--force", *left)
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(CommandFailed):
            for bridge in bridges() - links:
                run(["ip", "link", "delete", bridge])
        subprocess.run(["iptables-restore"], input=with_empty_tables(rules), text=True, check=False)
        with suppress(OSError):  # it may be read-only, and then it is as it was
            FORWARDING.write_text(forwards)
        for kept in ("data", "exec"):
            shutil.rmtree(folder / kept, ignore_errors=True)


def bridges() -> set[str]:
    """The network bridges of this machine."""
    return {line.split()[0] for line in run(["ip", "-brief", "link", "show", "type", "bridge"]).splitlines()}


def with_empty_tables(rules: str) -> str:
    """Saved rules, and the tables that had none: those that are not named would be left as they are."""
    for table, chains in NO_RULES.items():
        if f"*{table}\n" not in rules:
            rules += "\n".join([f"*{table}", *(f":{chain} ACCEPT" for chain in chains), "COMMIT", ""])
    return rules


def add_plugins(folder: Path, ours: Engine) -> None:
    """Compose v2 and buildx, out of a newer Debian's packages: unpacked, not installed."""
    if not missing(ours):
        return
    source = next(Path("/etc/apt/sources.list.d").glob("debian.sources"), None)
    if source is None:
        raise NoEngine("no debian.sources: nothing says where Compose v2 could come from")
    work = folder / "plugins"
    for part in ("lists/partial", "cache/archives/partial"):
        (work / part).mkdir(parents=True)
    stanza = source.read_text().split("\n\n")[0]
    lines = [f"Suites: {PLUGINS_FROM}" if line.startswith("Suites:") else line for line in stanza.splitlines()]
    (work / f"{PLUGINS_FROM}.sources").write_text("\n".join(lines) + "\n")
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": work,
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work / "cache",
        "Dir::State::status": "/dev/null",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-qq", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    try:
        run([*apt, "update"])
        run([*apt, "download", *PLUGINS], cwd=work)
    except CommandFailed as failed:
        raise NoEngine(f"Compose v2 could not be had: {failed}") from None
    for package in work.glob("*.deb"):
        run(["dpkg-deb", "-x", str(package), str(work / "unpacked")])
    plugins = Path(ours.env["DOCKER_CONFIG"]) / "cli-plugins"
    plugins.mkdir(parents=True)
    for program in (work / "unpacked/usr/libexec/docker/cli-plugins").iterdir():
        shutil.copy(program, plugins)
