"""What a call leaves behind is collected soon, and nobody waits for it. For workers, and for gateways' answers.

A call's pipeline is full of reference cycles (processors, their tasks, their handlers), so it goes with the
collector's oldest generation only. CPython looks at that one when a quarter as much has come as the last look found
alive: after some seventy calls, since libraries alone are 180000 objects, and each look walks through all of them
while every call waits: 130 to 370 ms, measured with ten calls. Once these are frozen, a look comes every dozen calls,
takes 10 to 30 ms, and memory does not grow in steps in between.

A call that comes brings objects too, 2000 of them, and no garbage: the looks while calls came found nothing, and took
45 ms with 64 calls. So in a worker it is the calls that end which are counted.
"""

import gc

OFTEN = 3  # looks at the middle generation before one at the oldest; 10 by default: some thirty calls, 12 MB
RARELY = 300  # minutes under load: cycles that a bot makes and drops amid its call
ENDED_CALLS = 12  # leave 6 MB


def freeze_what_stays(looks: int = OFTEN) -> None:
    """Once, when everything that stays has been loaded, and before the first call."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, looks)
    gc.collect()  # only now does the collector know how little is left to walk through


class EndedCalls:
    """Collects what calls have left behind, for a dozen of them at once."""

    def __init__(self) -> None:
        self._since_look = 0

    def one_more(self) -> None:
        """A call has ended. What still holds it lets go soon after."""
        self._since_look += 1
        if self._since_look > ENDED_CALLS:
            self._since_look = 1  # this one goes with the next dozen
            gc.collect()
