"""When will the last of these calls have ended? From how long calls of their bots lasted before. Pure; in seconds.

A call of this age ends like those of its bot that got at least as old. One that has outlasted them all is expected to
last as long again at most; one whose bot has no past, as long as any call may.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shared.calls.record import CallRecord

STEPS = 60  # in which the time until the longest possible end is looked at

Lengths = Mapping[str, Sequence[float]]
"""How long calls of each bot lasted, in order."""


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A call that goes on."""

    bot: str
    age_s: float


def lengths_of(records: Iterable[CallRecord]) -> Lengths:
    """The lengths of those calls that have ended after somebody talked."""
    found: dict[str, list[float]] = defaultdict(list)
    for record in records:
        if record.is_over and record.first_attached_at_ms:
            found[record.bot].append(max(0.0, (record.ended_at_ms - record.first_attached_at_ms) / 1000))
    return {bot: sorted(lengths) for bot, lengths in found.items()}


def time_until_last(calls: Iterable[LiveCall], lengths: Lengths, max_call_s: float) -> float:
    """The expected time until the last of these calls ends; 0 when there is none."""
    rests = [_rest_of(call, lengths.get(call.bot, ()), max_call_s) for call in calls]
    step = max((rest.longest_s for rest in rests), default=0.0) / STEPS
    total = 0.0
    for n in range(STEPS):  # the mean of the last end is the sum over the chances that not all have ended by then
        all_ended = 1.0
        for rest in rests:
            all_ended *= rest.ended_after((n + 0.5) * step)
        total += step * (1 - all_ended)
    return total


@dataclass(frozen=True, slots=True)
class _Rest:
    """What may be left of a call: the ages at which those before it ended that got as old as it is now."""

    age_s: float
    ends: Sequence[float]
    longest_s: float

    def ended_after(self, seconds: float) -> float:
        """The chance that it has ended by then."""
        if seconds >= self.longest_s:
            return 1.0
        return bisect_right(self.ends, self.age_s + seconds) / len(self.ends) if self.ends else 0.0


def _rest_of(call: LiveCall, lengths: Sequence[float], max_call_s: float) -> _Rest:
    ends = lengths[bisect_right(lengths, call.age_s) :]
    at_most_s = max(0.0, max_call_s - call.age_s)
    if ends:
        return _Rest(call.age_s, ends, min(at_most_s, ends[-1] - call.age_s))
    return _Rest(call.age_s, (), min(at_most_s, call.age_s) if lengths else at_most_s)
