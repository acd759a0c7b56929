"""After a start without data nothing is placed for a while: the workers are telling which calls live."""


def settling_ms(since_ms: int, settle_ms: int, now_ms: int) -> int:
    """How many ms that still takes; 0 when calls are placed. A start that lies ahead (clocks) holds up none."""
    return max(0, since_ms + settle_ms - now_ms) if 0 < since_ms <= now_ms else 0
