"""Whose fault was it that a call's worker is gone? Asks the registry for the evidence, and waits a moment for it.

`shared/calls/culprit.py` decides. While the registry is away nobody is suspected: its callers wait.
"""

import asyncio
from collections.abc import Mapping, Sequence

from shared.calls.culprit import Judgement, PastSession, Verdict, judge, must_wait_for_note, past_sessions
from shared.calls.record import CallRecord
from shared.fleet.death import DeathNote
from shared.fleet.worker import WorkerView
from shared.registry import Registry, RegistryAway
from shared.telemetry.catalogue import REGISTRY_ERRORS
from shared.telemetry.meter import Meter

# A parent notes a death within a few tenths of a second. Nginx waits 2 s for /route, and a caller hears nothing.
NOTE_WITHIN_S = 1.2
LOOK_S = 0.05

PASSENGER = Judgement(Verdict.PASSENGER)


class CulpritJudge:
    """Judges calls whose worker is gone. `retries`: how many workers may die of one call before it is ended."""

    def __init__(self, registry: Registry, meter: Meter, retries: int) -> None:
        self._registry = registry
        self._meter = meter
        self._retries = retries

    async def judge(self, call_id: str) -> Judgement:
        """This call, whose worker is gone as far as the asker can tell."""
        try:
            record = await self._registry.get(call_id)
            return await self.judge_record(record) if record else PASSENGER
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return PASSENGER

    async def lives(self, call_id: str) -> bool:
        """Whether the call has had a worker, and goes on."""
        try:
            record = await self._registry.get(call_id)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return False
        return record is not None and record.state.is_live

    async def judge_record(self, record: CallRecord) -> Judgement:
        """The same, of a call whose record is at hand. Raises `RegistryAway`."""
        sessions = past_sessions(record, self._registry.now_ms())
        if not record.state.is_live or not sessions:
            return PASSENGER
        notes = await self._notes_of(sessions)
        is_due = not self._retries and sessions[-1].seat not in notes  # the first death may be its last
        if record.is_seated and (is_due or must_wait_for_note(sessions, notes, record.call_id)):
            notes = await self._wait_for_note(sessions)
        now_ms = self._registry.now_ms()
        living = {view.record.seat for view in await self._registry.workers() if view.is_fresh(now_ms)}
        return judge(sessions, notes, living, call_id=record.call_id, retries=self._retries)

    async def _notes_of(self, sessions: Sequence[PastSession]) -> Mapping[str, DeathNote]:
        return await self._registry.death_notes([session.seat for session in sessions])

    async def _wait_for_note(self, sessions: Sequence[PastSession]) -> Mapping[str, DeathNote]:
        """All notes, once the last session's death has one, or has had its time."""
        waits_until = asyncio.get_running_loop().time() + NOTE_WITHIN_S
        while True:
            notes = await self._notes_of(sessions)
            if sessions[-1].seat in notes or asyncio.get_running_loop().time() >= waits_until:
                return notes
            await asyncio.sleep(LOOK_S)


def is_gone(record: CallRecord, workers: Sequence[WorkerView], failed_address: str, now_ms: int) -> bool:
    """Whether the worker of a live call cannot be there: it has just failed, is silent, or was started anew since."""
    if not record.state.is_live or not record.worker_id:
        return False
    view = next((view for view in workers if view.record.worker_id == record.worker_id), None)
    if view is None or not view.is_fresh(now_ms) or view.record.address == failed_address:
        return True
    return record.is_seated and view.record.seat != record.seat
