"""Calls through the gateway and straight at the echo: what a call costs the gateway, and by how much it is later."""

import time
from typing import Any

from shared.carrier.load.client import Load, Target
from tests.bench.gateway.front import Front
from tests.bench.gateway.probing import ProbingCall
from worker.capacity.figures import percentile, rounded
from worker.capacity.processes import cpu_s

PER_S = 20.0  # new calls
SETTLE_S = 4.0  # greetings are over by then


def under_calls(front: Front, target: Target, calls: int, seconds: float) -> dict[str, Any]:
    """So many calls at `target` for so long: the gateway's share of its core, round trips, how late the client was."""
    with Load(target, ProbingCall) as load:
        for _ in range(calls):
            load.place()
            load.run_until(time.monotonic() + 1 / PER_S)
        load.run_until(time.monotonic() + (SETTLE_S if calls else 1.0))
        begin, cpu = time.monotonic(), cpu_s([front.pid])
        load.run_until(begin + seconds)
        end, used_s = time.monotonic(), cpu_s([front.pid]) - cpu
        live = [call for call in load.live if isinstance(call, ProbingCall)]
        failures = sorted({call.failure for call in load.calls if call.failure})
        if len(live) < calls:
            raise RuntimeError(f"only {len(live)} of {calls} calls were up: {'; '.join(failures)}")
        trips = [trip_s * 1000 for call in live for at, trip_s in call.trips if begin <= at < end]
        late = [late_s * 1000 for at, late_s in load.lags if begin <= at < end]
        pct = used_s / (end - begin) * 100
        told = {
            "calls": calls,
            "gateway_core_pct": pct,
            "gateway_core_pct_per_call": pct / calls if calls else None,
            "round_trips": len(trips),
            "round_trip_p50_ms": percentile(trips, 50),
            "round_trip_p99_ms": percentile(trips, 99),
            "client_lag_p99_ms": percentile(late, 99),
        }
        for call in load.live:
            load.hang_up(call)
        load.run_until(time.monotonic() + 0.5)
    return {name: rounded(value) for name, value in told.items()}
