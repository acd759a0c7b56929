"""IP networks as settings name them, and whether an address is inside one. Standard library only; looks nothing up."""

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(text: str) -> tuple[Network, ...]:
    """Comma-separated networks or single addresses. Raises `ValueError`, which names the first that is none."""
    networks = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ipaddress.ip_network(part))
        except ValueError:
            raise ValueError(f"{part!r} is no network, such as 10.0.0.0/8 (no bits set behind the prefix)") from None
    return tuple(networks)


def parse_ip(text: str) -> Address | None:
    """An IP address, or None. IPv4 in IPv6's clothes (::ffff:10.0.0.7) is the IPv4 address; zones are not taken."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def is_within(address: Address, networks: Iterable[Network]) -> bool:
    """Whether one of the networks holds the address."""
    return any(address in network for network in networks)


def parse_ip_and_port(text: str) -> tuple[Address, int] | None:
    """`10.0.0.7:9100` or `[fd00::7]:9100`, or None for anything else: a name, no port, port 0, spaces, line ends."""
    host, colon, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if not colon or (":" in host) != is_bracketed or not _is_port(port):
        return None
    address = parse_ip(host[1:-1] if is_bracketed else host)
    return (address, int(port)) if address is not None else None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65535


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
