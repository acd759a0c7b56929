"""`python -m worker`: one worker process, under a watchdog that kills it when it freezes.

This process is the watchdog and imports nothing heavy; what works is its child (`worker/process.py`).
"""

import sys

from shared.process.watchdog import guard
from worker.death_note import tell

if __name__ == "__main__":
    sys.exit(guard("worker.process", tell))
