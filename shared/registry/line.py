"""The line of callers who wait for a slot, in memory: what the Lua files do with it, said in Python. Pure.

A place is a lease: it lasts until a time, and who is silent keeps nobody waiting. The order is that of coming; a
place that has lapsed is remembered for a while, so that who comes back to it is where he was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared.registry.contract import LINE_KEPT_MS, Place


@dataclass(frozen=True, slots=True)
class Waiting:
    """A caller who waits, and for what: a slot for this bot, for a call of this number.

    The number has at most `ceiling` calls (0: no limit).
    """

    since_ms: int
    until_ms: int
    number: str
    ceiling: int
    bot: str = ""


class Line:
    """Who waits, by call id."""

    def __init__(self) -> None:
        self._waiting: dict[str, Waiting] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def join(self, call_id: str, waiting: Waiting) -> None:
        """A place behind those who came before; one that the call has already stays where it is."""
        before = self._waiting.get(call_id, waiting)
        self._waiting[call_id] = replace(waiting, since_ms=before.since_ms)

    def keep(self, call_ids: Sequence[str], now_ms: int, until_ms: int) -> list[Place]:
        """Renew these places, forget those that lapsed long ago, and tell who waits."""
        for call_id in call_ids:
            if call_id in self._waiting:
                self._waiting[call_id] = replace(self._waiting[call_id], until_ms=until_ms)
        for call_id, waiting in list(self._waiting.items()):
            if waiting.until_ms <= now_ms - LINE_KEPT_MS:
                self.leave(call_id)
        return [Place(call_id, waiting.since_ms) for call_id, waiting in self._in_order(now_ms)]

    def leave(self, call_id: str) -> None:
        self._waiting.pop(call_id, None)

    def ahead_of(self, call_id: str, now_ms: int) -> list[Waiting]:
        """Those who wait before this call; all, if it has no place."""
        mine = self._waiting.get(call_id)
        ahead = []
        for other, waiting in self._in_order(now_ms):
            if mine is not None and _rank(other, waiting) >= _rank(call_id, mine):
                break
            ahead.append(waiting)
        return ahead

    def _in_order(self, now_ms: int) -> list[tuple[str, Waiting]]:
        alive = [(call_id, waiting) for call_id, waiting in self._waiting.items() if waiting.until_ms > now_ms]
        return sorted(alive, key=lambda item: _rank(*item))


def _rank(call_id: str, waiting: Waiting) -> tuple[int, bytes]:
    """As Redis sorts: by score, then by the bytes of the member."""
    return waiting.since_ms, call_id.encode()
