"""The calls of this process, by call id: how many, whether there is room, and one attachment at a time for each."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from worker.session import Session

MOST_ENDED = 10_000
TURN_S = 1.5  # the longest that a second stream of a call waits


class Sessions:
    """All sessions that have not ended."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.is_starting = False
        self.is_draining = False
        self._sessions: dict[str, Session] = {}
        self._coming: set[str] = set()  # on their way in: each will be a session unless it is refused
        self._ended: dict[str, None] = {}  # calls that are over, the oldest first
        self._turns: dict[str, asyncio.Lock] = {}
        self._queued: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, call_id: str) -> bool:
        """Whether this call has its place here, even if it is only on its way in."""
        return call_id in self._sessions or call_id in self._coming

    @property
    def live(self) -> int:
        """Calls that hold a slot here. One that is being wound up has given it back: it keeps nobody out."""
        return sum(session.ending is None for session in self._sessions.values()) + len(self._coming)

    @property
    def is_full(self) -> bool:
        return self.live >= self.capacity

    def has_had(self, call_id: str) -> bool:
        """Whether the call has its session here, or had it not long ago."""
        return call_id in self._sessions or call_id in self._ended

    @property
    def call_ids(self) -> list[str]:
        return list(self._sessions)

    def all(self) -> list[Session]:
        return list(self._sessions.values())

    def get(self, call_id: str) -> Session | None:
        return self._sessions.get(call_id)

    def add(self, session: Session) -> None:
        self._sessions[session.record.call_id] = session
        self._empty.clear()

    def remove(self, session: Session) -> None:
        call_id = session.record.call_id
        if self._sessions.get(call_id) is session:
            del self._sessions[call_id]
        if session.ending is not None and not session.ending.is_handover:
            self._ended[call_id] = None
            if len(self._ended) > MOST_ENDED:
                del self._ended[next(iter(self._ended))]
        if not self._sessions:
            self._empty.set()

    def has_ended_here(self, call_id: str) -> bool:
        """Whether the call is over, though the registry may have forgotten it."""
        return call_id in self._ended

    def is_attaching(self, call_id: str) -> bool:
        """Whether a stream of the call is on its way in."""
        return call_id in self._turns

    @contextmanager
    def place_kept(self, call_id: str) -> Iterator[None]:
        """While the registry is asked about a call, nobody else is let into its place. Add its session within."""
        self._coming.add(call_id)
        try:
            yield
        finally:
            self._coming.discard(call_id)

    async def until_empty(self) -> None:
        await self._empty.wait()

    @asynccontextmanager
    async def turn(self, call_id: str) -> AsyncIterator[None]:
        """One stream of a call at a time is attached. Raises `TimeoutError` when it is not our turn in time."""
        lock = self._turns.setdefault(call_id, asyncio.Lock())
        self._queued[call_id] += 1
        try:
            async with asyncio.timeout(TURN_S):
                await lock.acquire()
            try:
                yield
            finally:
                lock.release()
        finally:
            self._queued[call_id] -= 1
            if not self._queued[call_id]:
                del self._queued[call_id], self._turns[call_id]
