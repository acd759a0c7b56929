"""Who is asking: the address from which a request really came, seen through the proxies that we trust.

Everybody can write an X-Forwarded-For. Only what a trusted proxy has added is believed: from the right, the first
address that is not itself a trusted proxy's.
"""

from collections.abc import Iterable, Sequence

from shared.networks import Address, Network, is_within, parse_ip, parse_ip_and_port


def source_of(peer: str, forwarded: Iterable[str], proxies: Sequence[Network]) -> Address | None:
    """The source of a request from `peer`, with these X-Forwarded-For headers in order; None: nobody can say.

    An entry that is no address, written by a proxy that we trust, hides whoever is behind it: None.
    """
    source = parse_ip(peer)
    hops = [hop.strip() for header in forwarded for hop in header.split(",")]
    while source is not None and hops and is_within(source, proxies):
        source = _address(hops.pop())
    return source


def _address(hop: str) -> Address | None:
    """Some proxies add the port."""
    with_port = parse_ip_and_port(hop)
    return with_port[0] if with_port else parse_ip(hop.removeprefix("[").removesuffix("]"))
