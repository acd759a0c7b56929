"""Output that cannot hold up or end a supervisor: what it prints is queued, and a thread writes it.

A terminal goes away with its window, a pipe's reader stops to read, a disk is full. None of that is a reason to stop
looking after processes that carry calls: lines that nobody takes are dropped.
"""

import contextlib
import io
import os
import queue
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

MOST_WAITING = 10_000  # pieces of text; a reader that is so far behind does not read
AT_THE_END_S = 1.0  # for what still waits when the command ends


class QueuedStream(io.TextIOBase):
    """In place of a text stream: takes what is written at once, and never raises."""

    def __init__(self, replaced: TextIO, waiting: "queue.SimpleQueue[tuple[int, bytes] | None]") -> None:
        self._fd = replaced.fileno()
        self._is_terminal = replaced.isatty()
        self._encoding = replaced.encoding
        self._waiting = waiting

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._is_terminal

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._waiting.qsize() < MOST_WAITING:
            self._waiting.put((self._fd, text.encode(self._encoding, "replace")))
        return len(text)


@contextlib.contextmanager
def queued_output() -> Iterator[None]:
    """Within this context, standard output and error are queued."""
    streams = sys.stdout, sys.stderr
    waiting: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
    try:
        queued = [QueuedStream(stream, waiting) for stream in streams]
    except (OSError, ValueError, AttributeError):  # closed, or no stream of the system's: nothing to wait for
        yield
        return
    writing = threading.Thread(target=_write, args=(waiting,), name="output", daemon=True)
    writing.start()
    sys.stdout, sys.stderr = queued
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        waiting.put(None)
        writing.join(AT_THE_END_S)


def _write(waiting: "queue.SimpleQueue[tuple[int, bytes] | None]") -> None:
    while (piece := waiting.get()) is not None:
        fd, text = piece
        with contextlib.suppress(OSError):  # a terminal that is gone, a disk that is full
            while text:
                text = text[os.write(fd, text) :]
