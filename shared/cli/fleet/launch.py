"""Becomes another program that dies when its parent dies. Run by path, with the bare interpreter.

    python -IS launch.py PARENT_PID PROGRAM ARGUMENTS…

Linux only (PR_SET_PDEATHSIG, kept over exec); elsewhere a killed parent leaves its children to their own. A
launcher and not a `preexec_fn`, because forking with Python code in between is not safe beside threads.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)
    os.execvp(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
