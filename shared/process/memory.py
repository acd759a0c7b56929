"""What a call leaves behind is collected soon, and nobody waits for it. For workers, and for gateways' answers.

A call's pipeline is full of reference cycles (processors, their tasks, their handlers), so it goes with the
collector's oldest generation only. CPython looks at that one when a quarter as much has come as the last look found
alive: after some seventy calls, since libraries alone are 180000 objects, and each look walks through all of them
while every call waits: 130 to 370 ms, measured with ten calls. Once these are frozen, a look comes every dozen calls,
takes 10 to 30 ms, and memory does not grow in steps in between.
"""

import gc

THRESHOLDS = (700, 10, 3)  # the last one is 10 by default: some thirty calls, and 12 MB, between two looks


def freeze_what_stays() -> None:
    """Once, when everything that stays has been loaded, and before the first call."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.collect()  # only now does the collector know how little is left to walk through
