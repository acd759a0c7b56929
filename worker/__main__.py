"""`python -m worker`: one worker process, under a watchdog that kills it when it freezes.

This process is the watchdog and imports nothing heavy; what works is its child (`worker/process.py`).
"""

import importlib
import sys

from shared.process.watchdog import guard
from worker.death_note import prepare, tell

# what looks inside a bot, without a fleet, and prints JSON
COMMANDS = {"eval": "worker.evaluation", "rehearse": "worker.rehearsing"}

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        sys.exit(importlib.import_module(COMMANDS[sys.argv[1]]).main(sys.argv[2:]))
    sys.exit(guard("worker.process", tell, prepare))
