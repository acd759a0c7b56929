"""What a long command says while it works: lines on standard error, with the time since its start."""

import sys
import time


class Progress:
    """Called with each line. `began_at` is a moment of the monotonic clock."""

    def __init__(self) -> None:
        self.began_at = time.monotonic()

    def __call__(self, line: str) -> None:
        print(f"{time.monotonic() - self.began_at:7.1f} s  {line}", file=sys.stderr, flush=True)
