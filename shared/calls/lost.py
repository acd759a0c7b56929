"""A call that the registry does not know, though its token is good: was it lost, or was it never there? Pure.

A registry that was started empty remembers since then. What was answered before may have been lost with it; what was
answered later would be known, but for a call that a gateway placed while the registry was away. Nobody can tell a call
that has ended from one that lives, so the lost are taken for a while only: until their first stream had to come, or,
since they may have had a worker that died with the registry, for as long as a carrier takes to come back.
"""


def may_be_lost(
    answered_at_ms: int, attach_by_ms: int, now_ms: int, *, since_ms: int, window_ms: int, is_local: bool = False
) -> bool:
    """Whether the registry may have lost this call, which is to be taken as if it were known.

    `since_ms`: since when the registry remembers (0: no worker has told it anything yet).
    """
    since_ms = since_ms or now_ms
    if answered_at_ms >= since_ms and not is_local:
        return False
    return now_ms <= attach_by_ms or now_ms <= since_ms + window_ms
