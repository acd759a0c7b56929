"""How often a source may fail: a budget for each, refilled with time, in bounded memory.

Only failures cost. A carrier's few addresses carry thousands of good calls, and behind a proxy that is not trusted
everybody has one address: so an empty budget changes how a failure is answered, and never what happens to a good
request. Time is a parameter: seconds on any clock that never goes back.
"""

import ipaddress
from collections import OrderedDict

from shared.networks import Address

MOST_SOURCES = 10_000  # the one not heard of for longest is forgotten, and its budget is whole again
ITS_OWN_NETWORK = 64  # an IPv6 host has that many bits to itself: it is one source


class Failures:
    """Token buckets by source. `per_minute` failures at once, and so many in each minute after."""

    def __init__(self, per_minute: float, most_sources: int = MOST_SOURCES) -> None:
        self._burst = per_minute
        self._per_s = per_minute / 60
        self._most = most_sources
        self._budgets: OrderedDict[int | str, tuple[float, float]] = OrderedDict()  # source: budget, when

    def __len__(self) -> int:
        return len(self._budgets)

    def spend(self, source: Address | None, now: float) -> bool:
        """Whether this failure is within the source's budget. Without a limit it always is."""
        if not self._burst:
            return True
        key = _key(source)
        budget, at = self._budgets.pop(key, (self._burst, now))
        budget = min(self._burst, budget + max(0.0, now - at) * self._per_s)
        is_within = budget >= 1
        self._budgets[key] = (budget - 1 if is_within else budget, now)
        if len(self._budgets) > self._most:
            self._budgets.popitem(last=False)
        return is_within

    @property
    def retry_after_s(self) -> int:
        """Until there is budget for one more."""
        return max(1, round(1 / self._per_s)) if self._per_s else 0


def _key(source: Address | None) -> int | str:
    if source is None:
        return "unknown"
    if isinstance(source, ipaddress.IPv6Address):
        return f"6:{int(source) >> (128 - ITS_OWN_NETWORK)}"
    return int(source)
