"""The end of a process that runs other people's code: soon, whatever that left running."""

import os
import sys
import threading
import time

from shared.telemetry.logs import get_logger


def exit_within(seconds: float, status: int) -> None:
    """End this process with this status, if it has not ended by then.

    Python waits for threads, child processes, executors and `atexit` functions, and for some of them for ever.
    """
    threading.Thread(target=_exit_late, args=(seconds, status), name="exit", daemon=True).start()


def _exit_late(seconds: float, status: int) -> None:
    time.sleep(seconds)
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    waited_for = [thread.name for thread in others if not thread.daemon]
    log = get_logger(__name__)
    try:
        log.warning("something keeps this process from ending: ended", threads=waited_for, after_s=seconds)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:  # a stream may be closed
        os._exit(status)
