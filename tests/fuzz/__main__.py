"""Hostile input over open sockets, against a real gateway and a real worker.

    python -m tests.fuzz [--messages 100000] [--seed 1] [--json]

Exit status 0 only if nothing crashed, nothing leaked (slots, sockets, tasks, memory, secrets in logs), nobody got a
500, and good calls beside it went as they should. The same seed sends the same messages.
"""

import argparse
import asyncio
import sys

from tests.fuzz.run import fuzz
from tests.outcome import tell


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    given = parser.parse_args()
    report = asyncio.run(fuzz(given.messages, given.seed))
    return tell(report, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
