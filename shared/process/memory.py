"""What a call leaves behind is collected soon, and nobody waits for it. For workers, and for gateways' answers.

A call's pipeline is full of reference cycles (processors, their tasks, their handlers), so it goes with the
collector's oldest generation only. CPython looks at that one when a quarter as much has come as the last look found
alive: after some seventy calls, since libraries alone are 180000 objects, and each look walks through all of them
while every call waits: 130 to 370 ms, measured with ten calls. Once these are frozen, a look walks through what calls
have alone: 10 to 30 ms with ten of them, and memory does not grow in steps in between.

A call that comes brings objects too, 2000 of them, and no garbage: the looks while calls came found nothing, and took
45 ms with 64 calls. So in a worker it is the calls that end which are counted.
"""

import asyncio
import gc

OFTEN = 3  # looks at the middle generation before one at the oldest (10 by default): in a gateway
RARELY = 100  # in a worker, for cycles that are no ended call's. From Python 3.14 on the collector does not heed it
ENDED_CALLS = 12  # leave 6 MB
LET_GO_S = 1.0  # what still holds a call that has ended lets go of it


def freeze_what_stays(looks: int = OFTEN) -> None:
    """Once, when everything that stays has been loaded, and before the first call."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, looks)
    gc.collect()  # only now does the collector know how little is left to walk through


class EndedCalls:
    """Collects what calls have left behind, for a dozen of them at once, or more that end within a second."""

    def __init__(self) -> None:
        self._since_look = 0

    def one_more(self) -> None:
        """A call has ended."""
        self._since_look += 1
        if self._since_look == ENDED_CALLS:
            asyncio.get_running_loop().call_later(LET_GO_S, self._look)

    def _look(self) -> None:
        self._since_look = 0
        gc.collect()
