"""`python -m shared.process.healthcheck PORT [/readyz]`: is the process on this machine that listens there alive?

For a container's health check, which runs every few seconds in each of them: the standard library only, and no HTTP
client, whose import takes as long as all the rest.
"""

import socket
import sys

TIMEOUT_S = 1.5


def is_well(port: int, path: str = "/healthz") -> bool:
    """Whether this path there answers with 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(64).split(b" ", 2)[1:2] == [b"200"]
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if is_well(int(sys.argv[1]), *sys.argv[2:]) else 1)
