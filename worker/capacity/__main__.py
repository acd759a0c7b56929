"""`python -m worker.capacity`: places calls on a worker that runs, and prints how many it carries as one JSON object.

`sfvopi bench capacity` starts the worker, and then this. Progress goes to standard error. Linux.
"""

import argparse
import atexit
import json
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from shared.carrier.load.client import Load, Target
from shared.process.progress import Progress
from worker.capacity.limits import capacity_of, room_in_files, room_in_memory
from worker.capacity.loop_lag import LagFile
from worker.capacity.processes import open_files, put_back, put_first
from worker.capacity.ramp import Effort, find_knee
from worker.capacity.trial import Trial
from worker.headroom import memory_reader

FINENESS = 15


class OneWorker:
    """The worker under load."""

    def __init__(self, pid: int, core: int, lag_file: Path) -> None:
        self.pids = [pid]
        self.core = core
        self.lags = {"worker": LagFile(lag_file)}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    given = parse(argv)
    say = Progress()
    os.sched_setaffinity(0, {given.load_core})
    put_first(given.pid)
    if put_first(os.getpid()):
        atexit.register(put_back, os.getpid())  # the session may be that of a terminal, which goes on

    effort = Effort(
        until=say.began_at + given.within,
        most=given.most,
        fineness=FINENESS,
        is_relative=True,
        call_s=given.call_minutes * 60,
    )
    read_memory = memory_reader(given.memory_mb)
    files_before = open_files(given.pid)
    files_limit, _ = resource.prlimit(given.pid, resource.RLIMIT_NOFILE)
    try:
        with Load(Target(given.answer_url, given.hangup_url, given.route_url)) as load:
            trial = Trial(OneWorker(given.pid, given.core, given.lag_file), load)
            found = find_knee("worker", trial, effort, say)
            calls, files, memory = len(trial.live), open_files(given.pid), read_memory()
    except OSError as error:
        print(f"error: the worker has gone ({error}): its log says why", file=sys.stderr)
        return 1
    capacity = capacity_of(
        found,
        room_in_memory(memory, found["rss_per_call_mb"], calls),
        room_in_files(None if files_limit == resource.RLIM_INFINITY else files_limit, files_before, files, calls),
    )
    told = {**capacity.to_dict(), "call_minutes": round(trial.call_s / 60, 1), "search": found}
    print(json.dumps(told), flush=True)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker.capacity", description=__doc__)
    parser.add_argument("--answer-url", required=True)
    parser.add_argument("--hangup-url", required=True)
    parser.add_argument("--route-url", required=True, help="where the gateway is asked for a stream's way")
    parser.add_argument("--pid", type=int, required=True, help="the worker's")
    parser.add_argument("--core", type=int, required=True, help="the worker's")
    parser.add_argument("--load-core", type=int, required=True)
    parser.add_argument("--lag-file", type=Path, required=True)
    parser.add_argument("--memory-mb", type=float, default=0, help="that the worker may use; 0: what the machine has")
    parser.add_argument("--most", type=int, required=True, metavar="N", help="calls at once")
    parser.add_argument("--call-minutes", type=float, required=True, metavar="M", help="in all")
    parser.add_argument("--within", type=float, required=True, metavar="S", help="no hold begins that ends later")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
