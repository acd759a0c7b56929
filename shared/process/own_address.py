"""At which address others reach this process, when it listens on all of its machine's."""

import socket
from functools import cache


def address_of(host: str, port: int) -> str:
    """IP:port at which others reach a socket that listens there; empty if that cannot be found out."""
    host = _own_host() if host in ("0.0.0.0", "::") else host
    if not host:
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@cache
def _own_host() -> str:
    """This machine's own address (as in a container). Looked up once: a name server may take its time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: only asks which address would be used
            return str(probe.getsockname()[0])
        except OSError:
            pass
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return ""
