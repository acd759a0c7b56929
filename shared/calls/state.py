"""The states of a call, and the one table of its moves.

A call is first heard of by a webhook (ring, answer, or a hangup that is all we ever see). An answer reserves a
slot (RESERVED); the stream attaches to a worker (ACTIVE); a stream that closes without a hangup leaves the call
DETACHED until it comes back or is given up. ENDED is for good: it is the tombstone that refuses late streams.

An answer that is refused ends nothing: the call rings on (RINGING), for the carrier may ask the fallback. So does
one whose caller waits in line, until its turn is the ANSWER; he may come to wait after a slot was reserved in vain.
A repeated webhook or a returning stream is a self-loop in the table. A pair that is not listed moves nothing.
Registries apply the table atomically: they are given the moves of one event and know nothing else of it.
"""

from enum import StrEnum


class CallState(StrEnum):
    """Where a call is. NONE: nobody has heard of it; it is never stored."""

    NONE = "none"
    RINGING = "ringing"
    RESERVED = "reserved"
    ACTIVE = "active"
    DETACHED = "detached"
    ENDED = "ended"

    @property
    def is_live(self) -> bool:
        """A worker has taken the call, and it is not over."""
        return self in (CallState.ACTIVE, CallState.DETACHED)


class CallEvent(StrEnum):
    """What can happen to a call."""

    RING = "ring"  # ring webhook; or an answer webhook that was refused, or whose caller waits in line
    ANSWER = "answer"  # answer or fallback webhook, or a turn in line, with a slot reserved
    WAIT = "wait"  # no worker took the stream after all, and its caller waits in line
    ATTACH = "attach"  # a worker took the stream
    DETACH = "detach"  # the stream closed, the session waits for it
    END = "end"  # hangup, goodbye, deadline, dead worker … whoever is first
    CARRIER_ENDED = "carrier_ended"  # hangup webhook for a call that has ended already: adds the carrier's figures


MOVES: dict[CallEvent, dict[CallState, CallState]] = {
    CallEvent.RING: {
        CallState.NONE: CallState.RINGING,
        CallState.RINGING: CallState.RINGING,
    },
    CallEvent.ANSWER: {
        CallState.NONE: CallState.RESERVED,
        CallState.RINGING: CallState.RESERVED,
        # the fallback, or a carrier that asks again: same call, same answer
        CallState.RESERVED: CallState.RESERVED,
    },
    CallEvent.WAIT: {
        CallState.RESERVED: CallState.RINGING,
    },
    CallEvent.ATTACH: {
        CallState.RESERVED: CallState.ACTIVE,
        CallState.DETACHED: CallState.ACTIVE,
        # a second stream may replace the first before the first is known to be gone; the worker decides
        CallState.ACTIVE: CallState.ACTIVE,
    },
    CallEvent.DETACH: {
        CallState.ACTIVE: CallState.DETACHED,
        CallState.DETACHED: CallState.DETACHED,
    },
    CallEvent.END: {
        CallState.NONE: CallState.ENDED,
        CallState.RINGING: CallState.ENDED,
        CallState.RESERVED: CallState.ENDED,
        CallState.ACTIVE: CallState.ENDED,
        CallState.DETACHED: CallState.ENDED,
    },
    CallEvent.CARRIER_ENDED: {
        CallState.ENDED: CallState.ENDED,
    },
}
