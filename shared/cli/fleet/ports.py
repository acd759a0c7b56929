"""Free ports, below the range from which the system takes ports for outgoing connections.

A port that is free in that range can be taken by anybody's next connection before our child binds it.
"""

import random
import socket

LOWEST, HIGHEST = 20_000, 30_000
TRIES = 200


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now. Raises `OSError` when none is found."""
    for _ in range(TRIES):
        port = random.randint(LOWEST, HIGHEST)
        if is_free(port, host):
            return port
    raise OSError(f"no free port found between {LOWEST} and {HIGHEST}")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether we could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
