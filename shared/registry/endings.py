"""How a call ends, whoever ends it: one state, one outcome, one slot given back, one line in the outbox.

Two steps, both atomic and idempotent: the call's key first (who moved it to ENDED decides the outcome), then
the fleet's (slot and outbox). If the process dies between the two, the slot ends by itself and the reaper,
which finds an ended call behind a lapsed slot, does the second step.
"""

from collections.abc import Mapping
from typing import Any

from shared.calls.outcome import Reason
from shared.calls.state import CallEvent, CallState
from shared.registry.contract import Moved, Registry


async def end_call(
    registry: Registry,
    call_id: str,
    reason: Reason,
    changes: Mapping[str, Any] | None = None,
    *,
    fence: int | None = None,
) -> Moved:
    """End the call for this reason, unless it has ended already. `moved` says who was first.

    With a `fence` that is not the call's epoch, nothing happens: the call has been attached anew.
    """
    ended = await registry.move(call_id, CallEvent.END, {**(changes or {}), "reason": str(reason)}, fence=fence)
    if ended.moved or ended.before is CallState.ENDED:
        await registry.enqueue_ending(call_id)
    return ended
