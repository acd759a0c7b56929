"""Where a worker may be reached: IP:port inside the fleet's own networks, and nowhere else.

Addresses come from the registry. Whoever could write there must not make a gateway or nginx connect to a cloud's
metadata, or to the internet: link-local and public networks are out unless a setting says otherwise.
"""

from collections.abc import Iterable

from shared.fleet.worker import WorkerView
from shared.networks import Network, is_within, parse_ip_and_port

OWN_NETWORKS = "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7"
"""Loopback, private (RFC 1918), shared (RFC 6598: what some clouds give to pods), unique local (RFC 4193)."""


def is_worker_address(address: str, networks: Iterable[Network]) -> bool:
    """Whether a stream may be brought to this address."""
    parsed = parse_ip_and_port(address)
    return parsed is not None and is_within(parsed[0], networks)


def reachable(workers: Iterable[WorkerView], networks: Iterable[Network]) -> list[WorkerView]:
    """Those workers to which streams may be brought."""
    known = tuple(networks)
    return [worker for worker in workers if is_worker_address(worker.record.address, known)]
