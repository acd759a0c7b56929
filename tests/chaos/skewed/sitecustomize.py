"""Found by Python at its start where CHAOS_CLOCK_OFF_S is set: the wall clock of this process is off by so much."""

import os
import time

_off_ns = round(float(os.environ.get("CHAOS_CLOCK_OFF_S") or 0) * 1e9)
if _off_ns:
    _true_time_ns = time.time_ns

    def _time_ns() -> int:
        return _true_time_ns() + _off_ns

    def _time() -> float:
        return _time_ns() / 1e9

    time.time_ns, time.time = _time_ns, _time
