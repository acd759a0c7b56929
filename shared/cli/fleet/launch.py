"""Becomes another program that dies when its parent dies. Run by path, with the bare interpreter.

    python -IS launch.py PARENT_PID SOCKETS PROGRAM ARGUMENTS…

SOCKETS are listening sockets to hand over, as name=fd,name=fd (or nothing), by systemd's convention: from descriptor
3 on, with LISTEN_FDS, LISTEN_FDNAMES, and LISTEN_PID, which nobody knows sooner.

Linux only (PR_SET_PDEATHSIG, kept over exec); elsewhere a killed parent leaves its children to their own. A
launcher and not a `preexec_fn`, because forking with Python code in between is not safe beside threads.
"""

import fcntl
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
FIRST_FD = 3
OUT_OF_THE_WAY = 100  # of the descriptors that are taken below


def main() -> None:
    parent, sockets, program = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)
    if sockets:
        hand_over(dict(given.split("=") for given in sockets.split(",")))
    os.execvp(program[0], program)  # noqa: S606


def hand_over(sockets: "dict[str, str]") -> None:
    moved = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, OUT_OF_THE_WAY) for fd in sockets.values()]
    for fd in sockets.values():
        os.close(int(fd))
    for at, taken in enumerate(moved, FIRST_FD):
        os.dup2(taken, at)
        os.close(taken)
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(moved)), "LISTEN_FDNAMES": ":".join(sockets)}


if __name__ == "__main__":
    main()
