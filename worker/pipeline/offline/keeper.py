"""Runs a command for exactly as long as somebody holds our standard input open.

Started as a script of its own (`python keeper.py command …`), standard library only. A worker that is killed closes
the pipe without a word, and so takes its piper with it, on every system.
"""

import os
import subprocess
import sys
import threading

GRACE_S = 2
NICENESS = 5  # speech is made and recognised in bursts that must not delay audio in real time


def main(command: list[str]) -> None:
    """Start the command; end it when standard input ends, and end with it when it ends by itself."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_follow, args=(child,), daemon=True).start()
    while os.read(0, 4096):
        pass
    child.terminate()
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()


def _follow(child: subprocess.Popen[bytes]) -> None:
    # a negative code means that a signal ended it
    os._exit(child.wait() & 0xFF)


if __name__ == "__main__":
    main(sys.argv[1:])
