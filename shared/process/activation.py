"""Listening sockets that whoever started us owns and hands over, by systemd's convention (sd_listen_fds(3)).

They outlive this process: what comes while it leaves waits for the next one, or is taken by one that runs beside it.
"""

import os
import socket

FIRST_FD = 3


def inherited_sockets() -> dict[str, socket.socket]:
    """The sockets that were handed to this process, by name (LISTEN_FDNAMES); once, and never to children."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
        return {}
    found = {}
    for at in range(int(count)):
        inherited = socket.socket(fileno=FIRST_FD + at)
        inherited.set_inheritable(False)
        inherited.setblocking(False)
        found[names[at] if at < len(names) and names[at] else str(at)] = inherited
    return found
