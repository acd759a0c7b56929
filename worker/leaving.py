"""How a worker leaves: no new calls, and the living ones finish; those that can be moved are, when it has to be quick.

Theory of operation. DRAINING is published before anything else. Then calls end by themselves, until the deadline or
until somebody is in a hurry: an order to hand over, a second signal. Bots that are at work after their calls are waited
for, too. In a hurry, each call is given to another worker that has
room, with its conversation, if a leg can bring it there or the carrier is known to come back; the new slot is sure
before anything ends here. What is left after that goes on, or is cut when the process ends.
"""

import asyncio
import time

from shared.settings import WorkerSettings
from shared.telemetry.catalogue import DRAIN_ETA_SECONDS
from shared.telemetry.health import Health
from shared.telemetry.meter import Meter
from worker.afterwards import Afterwards
from worker.eta import Lengths, LiveCall, time_until_last
from worker.fleet_link import FleetLink
from worker.session import Session
from worker.sessions import Sessions
from worker.standing import Standing

MOVED_WITHIN_S = 5.0  # for sessions that were handed over to be wound up here
MOVE_ALL_S = 2.0  # over which moving is spread: each call costs its next worker a pipeline's start
MOVE_EVERY_S = 0.1
MOVE_AGAIN_S = 1.0  # what found no room is tried again
LEARN_EVERY_S = 30.0
LOOK_S = 0.02


class Leaving:
    """The end of this worker's service."""

    def __init__(
        self,
        settings: WorkerSettings,
        sessions: Sessions,
        afterwards: Afterwards,
        link: FleetLink,
        standing: Standing,
        health: Health,
        meter: Meter,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._afterwards = afterwards
        self._link = link
        self._standing = standing
        self._health = health
        self._meter = meter
        self.eta_s: int | None = None
        """While it drains: expected seconds until the last call has ended. The deadline ends what is left."""
        self._deadline_at = 0.0
        self._lengths: Lengths = {}

    def begin(self) -> None:
        """From now on no new call is taken."""
        self._health.begin_draining()
        self._sessions.is_draining = True

    async def drain(self) -> None:
        """No new calls; returns when the last one has ended or was moved, or at the deadline."""
        self.begin()
        self._deadline_at = time.monotonic() + self._settings.drain_deadline_s
        await self._link.beat()  # DRAINING is known before anything else happens
        emptying = asyncio.create_task(self._until_empty(), name="drain:empty")
        hurrying = asyncio.create_task(self._standing.moves.wait(), name="drain:hurry")
        learning = asyncio.create_task(self._keep_learning(), name="drain:learn")
        try:
            async with asyncio.timeout(self._settings.drain_deadline_s):
                await asyncio.wait({emptying, hurrying}, return_when=asyncio.FIRST_COMPLETED)
                while not emptying.done():
                    await self._move_calls()
                    await asyncio.wait({emptying}, timeout=MOVE_AGAIN_S)
        except TimeoutError:
            await self.hand_over()
        finally:
            for task in (emptying, hurrying, learning):
                task.cancel()

    async def _until_empty(self) -> None:
        await self._sessions.until_empty()
        await self._afterwards.until_empty()

    async def hand_over(self) -> None:
        """Move what can be moved, now; returns when these calls have gone, after some seconds at most."""
        moved = await self._move_calls()
        gone_by = time.monotonic() + MOVED_WITHIN_S
        while any(self._sessions.get(session.record.call_id) is session for session in moved):
            if time.monotonic() > gone_by:
                return
            await asyncio.sleep(LOOK_S)

    async def _move_calls(self) -> list[Session]:
        moved = []
        movable = [session for session in self._sessions.all() if self._can_move(session)]
        for session in movable:
            if session.ending is None and await self._link.hand_over(session):
                moved.append(session)
                await asyncio.sleep(min(MOVE_EVERY_S, MOVE_ALL_S / len(movable)))
        return moved

    def _can_move(self, session: Session) -> bool:
        """Its stream will come to the next worker: a leg brings it, or the carrier does."""
        return session.ending is None and (session.is_relayed or self._standing.carrier_reconnects)

    # -- how long it will take

    def measure(self) -> None:
        """Look at how long it will take; once a heartbeat."""
        if not self._health.draining:
            return
        calls = [LiveCall(s.record.bot, s.age_s) for s in self._sessions.all() if s.ending is None]
        expected_s = time_until_last(calls, self._lengths, self._settings.max_call_s)
        self.eta_s = round(max(0.0, min(expected_s, self._deadline_at - time.monotonic())))
        self._meter.set(DRAIN_ETA_SECONDS, self.eta_s)

    async def _keep_learning(self) -> None:
        while True:
            self._lengths = await self._link.recent_lengths() or self._lengths
            self._link.beat_soon()
            await asyncio.sleep(LEARN_EVERY_S)
