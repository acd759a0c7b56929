"""`python -m shared.process.healthcheck PORT [/readyz]`: is the process on this machine that listens there alive?

What it answers is printed when it is not well: an engine keeps it, and `roll.sh` reads it.
For a container's health check, which runs every few seconds in each of them: the standard library only, and no HTTP
client, whose import takes as long as all the rest.
"""

import socket
import sys

TIMEOUT_S = 1.5
MOST_BYTES = 65_536


def look(port: int, path: str = "/healthz") -> tuple[bool, str]:
    """Whether this path there answers with 200, and with what."""
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while len(answer) < MOST_BYTES and (more := connection.recv(4096)):
                answer += more
    except OSError as error:
        return False, str(error)
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b" ", 2)[1:2] == [b"200"], body.decode(errors="replace")


if __name__ == "__main__":
    is_well, said = look(int(sys.argv[1]), *sys.argv[2:])
    if not is_well:
        print(said)
    sys.exit(0 if is_well else 1)
