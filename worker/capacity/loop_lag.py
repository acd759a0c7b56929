"""How late an event loop wakes: a sampler inside each subject, the same for all, and the reader outside of it.

A sample is two doubles in a file: when the loop woke (CLOCK_MONOTONIC, which all processes share) and how late. The
loop is asked again 5 ms after each answer, so a long standstill is one sample; `spread_out` makes of it what callers
have of it: every moment that fell into it had to wait for its end.
"""

import asyncio
import os
import struct
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path

FILE = "BENCH_LAG_FILE"  # in a subject's environment
EVERY_S = 0.005
AT_ONCE = 50  # samples in one write: four writes a second
_SAMPLE = struct.Struct("dd")

Sample = tuple[float, float]  # woke at, late by (s)


class Sampler:
    """Runs in the subject for as long as its loop does; holds no task that a session could take for its own."""

    def __init__(self, file: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._kept = bytearray()
        self._ask()

    def _ask(self) -> None:
        self._due = time.monotonic() + EVERY_S
        self._loop.call_later(EVERY_S, self._woke)

    def _woke(self) -> None:
        now = time.monotonic()
        self._kept += _SAMPLE.pack(now, max(0.0, now - self._due))
        if len(self._kept) >= AT_ONCE * _SAMPLE.size:
            os.write(self._file, self._kept)
            self._kept.clear()
        self._ask()


_samplers: list[Sampler] = []


def sample_this_loop(file: str = "") -> None:
    """Start sampling, once per process, if a file is named, here or in the environment. Needs a running loop."""
    file = file or os.environ.get(FILE, "")
    if file and not _samplers:
        _samplers.append(Sampler(file))


class LagFile:
    """What a sampler writes, read as it grows."""

    def __init__(self, path: Path) -> None:
        self.samples: list[Sample] = []
        self._path = path
        self._read = 0

    def look(self) -> None:
        """Take in what is new."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = len(data) // _SAMPLE.size * _SAMPLE.size
        self._read += whole
        self.samples += _SAMPLE.iter_unpack(data[:whole])

    def within(self, begin: float, end: float) -> list[Sample]:
        """The samples of a stretch of time."""
        return self.samples[bisect_left(self.samples, (begin, 0.0)) : bisect_left(self.samples, (end, 0.0))]


def spread_out(samples: Iterable[Sample]) -> Iterator[float]:
    """The lateness (s) of every 5 ms: of each standstill the moments that fell into it, too."""
    for _, late_s in samples:
        while late_s > EVERY_S:
            yield late_s
            late_s -= EVERY_S
        yield late_s
