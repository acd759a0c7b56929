"""One subject under load: calls come and go at a pace, stretches of time are measured. Decides nothing."""

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from shared.carrier.load.call import Call
from shared.carrier.load.client import Load
from worker.capacity.figures import Counters, Figures, Window, greeting_ms, stall_of_ms
from worker.capacity.loop_lag import LagFile, Sample
from worker.capacity.processes import cpu_s, idle_s, rss_mb

SETTLE_S = 3.0  # after the last new call
LOOK_S = 1.0
LATE_ANSWERS_S = 4.0  # after a stretch: what was said in it may still be answered


class Measured(Protocol):
    """What is under load: processes on a core, and where each writes the lateness of its loop."""

    @property
    def pids(self) -> Sequence[int]: ...
    @property
    def core(self) -> int: ...
    @property
    def lags(self) -> Mapping[str, LagFile]: ...


class Trial:
    """Blocking, on purpose: nothing else runs in this process while a subject is under load."""

    def __init__(self, subject: Measured, load: Load) -> None:
        self._subject = subject
        self._load = load

    @property
    def live(self) -> list[Call]:
        return self._load.live

    @property
    def calls(self) -> list[Call]:
        """All that ever came."""
        return self._load.calls

    @property
    def failures(self) -> list[str]:
        """Why calls were not taken, or lost."""
        return [call.failure for call in self._load.calls if call.failure]

    @property
    def call_s(self) -> float:
        """How long all calls together have lasted by now."""
        now = time.monotonic()
        return sum((call.ended_at or now) - call.started_at for call in self._load.calls if call.started_at)

    def add_calls(self, count: int, per_s: float = 1.0) -> None:
        """New calls, one after another."""
        for _ in range(count):
            self._load.place()
            self.wait(1 / per_s)

    def have_calls(self, count: int, per_s: float = 1.0) -> None:
        """As many calls as that, and a moment of rest."""
        live = self.live
        for call in live[count:]:
            self._load.hang_up(call)
        self.add_calls(count - len(live), per_s)
        self.wait(SETTLE_S)

    def wait(self, seconds: float) -> None:
        """Calls go on."""
        self._load.run_until(time.monotonic() + seconds)

    def measure(self, seconds: float, *, gives_up: bool = False) -> Figures:
        """What the calls that are up now come to in this time, or until an underrun: then nothing can be kept."""
        calls, begin = self.live, self.count()
        while (left_s := begin.at + seconds - time.monotonic()) > 0:
            self.wait(min(left_s, LOOK_S))
            if gives_up and any(at >= begin.at for call in calls for at in call.playout.underruns[-1:]):
                break
        end = self.count()
        self.wait(LATE_ANSWERS_S if left_s <= 0 else 0)
        return self.window(calls, begin, end, is_whole=left_s <= 0).figures()

    def count(self) -> Counters:
        """The counters now."""
        pids = self._subject.pids
        idle = idle_s(self._subject.core)
        return Counters(time.monotonic(), cpu_s(pids), rss_mb(pids), idle, self._load.dropped)

    def window(self, calls: list[Call], begin: Counters, end: Counters, *, is_whole: bool = True) -> Window:
        """What was recorded between two moments."""
        lags = self.lags(begin.at, end.at)
        client = [sample for sample in self._load.lags if begin.at <= sample[0] < end.at]
        return Window(begin, end, calls, lags, client, is_whole)

    def lags(self, begin: float, end: float) -> list[list[Sample]]:
        """The samples of each process' loop."""
        for lag in self._subject.lags.values():
            lag.look()
        return [lag.within(begin, end) for lag in self._subject.lags.values()]

    def stalls_ms(self) -> list[float | None]:
        """Of each call that came: the longest standstill that it brought."""
        everything = [sample for samples in self.lags(0, time.monotonic()) for sample in samples]
        return [stall_of_ms(call, everything) for call in self._load.calls]

    def greetings_ms(self) -> list[float | None]:
        """Of each call that came: from `start` to the first audio."""
        return [greeting_ms(call) for call in self._load.calls]
