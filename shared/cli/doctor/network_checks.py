"""Can the carrier reach us, are our ports free, is a fleet running, has this machine room for the sockets?"""

import asyncio
import resource
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

from shared.cli.api import FleetApi
from shared.cli.doctor.check import Check, fail, ok, warn
from shared.cli.faults import CliFault
from shared.cli.fleet.ports import is_free
from shared.networks import is_loopback
from shared.settings import GatewaySettings

REACH_WITHIN_S = 4.0
FILES_NEEDED = 4096  # a relayed call takes two sockets in the gateway, two in the worker, and its providers'


async def check_public_url(url: str) -> AsyncIterator[Check]:
    """PUBLIC_WSS_URL, already known to be well formed: its path, its host, its certificate."""
    parts = urlsplit(url)
    if is_loopback(parts.hostname):
        yield warn("PUBLIC_WSS_URL", f"{url}: only `sfvopi call` on this machine reaches it", "sfvopi up --tunnel")
        return
    if not parts.path.strip("/"):
        yield warn("PUBLIC_WSS_URL", "it has no path", "end it with /ws, where nginx and the gateway look for streams")
    elif parts.path.startswith("/webhook"):
        yield fail("PUBLIC_WSS_URL", "its path is that of the webhooks", "end it with /ws")
    host, port = parts.hostname or "", parts.port or 443
    try:
        await asyncio.wait_for(_connect(host, port), REACH_WITHIN_S)
    except ssl.SSLCertVerificationError as error:
        yield fail(
            "PUBLIC_WSS_URL",
            f"the certificate of {host} is not accepted: {error.verify_message}",
            "SFVoPI will not connect either: get one from a public authority (certbot, your cloud, a tunnel)",
        )
    except (ssl.SSLError, OSError, TimeoutError) as error:
        why = str(error) or "no answer in time"
        yield warn(
            "PUBLIC_WSS_URL",
            f"{host}:{port} is not reachable from here: {why}",
            "right if it is only reachable from outside; else check DNS, firewall, and that TLS ends there",
        )
    else:
        yield ok("PUBLIC_WSS_URL", f"{host}:{port} answers with a valid certificate")


async def _connect(host: str, port: int) -> None:
    _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context(), server_hostname=host)
    writer.close()
    await writer.wait_closed()


def check_ports(settings: GatewaySettings) -> Iterator[Check]:
    """The gateway's two ports."""
    for variable, host, port in (
        ("SFVOPI_GATEWAY_PORT", settings.host, settings.port),
        ("SFVOPI_GATEWAY_INTERNAL_PORT", settings.internal_host, settings.internal_port),
    ):
        if is_free(port, host):
            yield ok(f"port {port}", "free")
        else:
            yield warn(f"port {port}", "taken: a gateway of yours runs already, or", f"set {variable} to another")


async def check_fleet(api: FleetApi) -> AsyncIterator[Check]:
    """A fleet that is said to be running: is its gateway ready, do its workers serve?"""
    try:
        workers, whole, quarantined = await api.workers(), await api.fleet(), await api.quarantined()
    except CliFault as fault:
        yield fail("fleet", str(fault))
        return
    readiness = await api.readiness()
    if readiness != "ready":
        yield fail("gateway", f"not ready: {readiness or 'no answer'}", "its log says why")
    serving = [w for w in workers if w["state"] == "serving" and w.get("fresh", True)]
    found = f"{len(serving)} of {len(workers)} workers serve; {whole['used']} of {whole['capacity']} slots in use"
    if not serving:
        yield fail("fleet", found, "calls are refused: start workers (python -m worker), look at their logs")
    else:
        yield ok("fleet", found)
    for quarantine in quarantined:
        yield check_quarantine(quarantine)


def check_quarantine(quarantine: dict[str, Any]) -> Check:
    """A bot whose calls kill workers."""
    bot, calls = quarantine["bot"], ", ".join(quarantine["calls"])
    why = f"quarantined: its calls {calls} killed their workers"
    return fail(f"bot {bot}", why, f"deploy a bot without the fault, or: sfvopi release {bot}")


def check_files() -> Check:
    """How many sockets a process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FILES_NEEDED:
        return ok("open files", "no limit" if soft == resource.RLIM_INFINITY else f"{soft}")
    return warn("open files", f"at most {soft}", f"for hundreds of calls: ulimit -n {FILES_NEEDED}")
