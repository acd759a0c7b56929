"""Did this call kill its workers, or was it only there? A verdict from evidence; pure.

Theory of operation. A call's record holds the sessions that it had before: each ended with a hand-over, or *perhaps*
with the death of its worker. The parent of a worker process writes a note of its death, which may name the session that
its event loop was in. A death is *attributed* to the call

- if its note names this call;
- if its note names nobody, the process did not end by somebody else's hand, and the session was young: a bot that
  crashes its process on the way in gives nobody time to write down a name;
- if nothing at all is known of it (the whole machine died, and the note with it), from the third in a row on of young
  sessions. Once, and twice, is bad luck.

A death whose note names another call is that call's alone. A process killed from outside, or which left in good order,
is nobody's fault. A worker whose start still has a lease, and no note, is alive: a partition, or a freeze that woke.

So a call that never harms anybody cannot be convicted by kills from outside, by another culprit, or by a deploy.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.calls.record import CallRecord
from shared.fleet.death import DeathNote
from shared.fleet.worker import worker_of

YOUNG_MS = 5_000
UNKNOWN_IN_A_ROW = 3  # from so many young sessions in a row on, deaths that left no note are attributed
CONVICTED_AT = 2  # attributed deaths, whatever a setting says


class Verdict(StrEnum):
    """What a call is, whose worker is gone."""

    PASSENGER = "passenger"  # it was only there
    SUSPECT = "suspect"  # one worker died of it
    CONVICTED = "convicted"  # so many died of it that it gets no other


@dataclass(frozen=True, slots=True)
class PastSession:
    """A session that the call had, and what may have become of it."""

    seat: str  # which start of which worker
    since_ms: int
    left_at_ms: int  # when the next session began; of the last one, now

    def is_young(self, died_at_ms: int) -> bool:
        """Whether it had just begun when its worker died."""
        return died_at_ms - self.since_ms < YOUNG_MS


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, and the workers that died of the call, in order."""

    verdict: Verdict
    outlived: tuple[str, ...] = ()


def past_sessions(record: CallRecord, now_ms: int) -> list[PastSession]:
    """What the call's record says of its sessions until now, oldest first; the one that was just lost is the last.

    A worker of the version before names no seat: then the last is the one before it.
    """
    left = [session for entry in record.deaths.split() if (session := _read(entry))]
    if record.seat:
        left.append(PastSession(record.seat, record.seated_at_ms, now_ms))
    return left


def must_wait_for_note(sessions: Sequence[PastSession], notes: Mapping[str, DeathNote], call_id: str) -> bool:
    """Whether the call may be placed only once the last death's note had its time to come.

    A session that is not young, of a call with nothing doubtful behind it, waits for nothing: nearly always it is a
    passenger's, and its caller hears silence.
    """
    if not sessions or sessions[-1].seat in notes:
        return False
    *before, last = sessions
    doubtful = (each.seat not in notes or _is_attributed(each, notes[each.seat], call_id) for each in before)
    return last.is_young(last.left_at_ms) or any(doubtful)


def judge(
    sessions: Sequence[PastSession],
    notes: Mapping[str, DeathNote],
    living: Collection[str],
    *,
    call_id: str,
    retries: int = 1,
) -> Judgement:
    """The verdict on this call.

    `notes` by seat; `living`: the seats (starts of workers) that still have a lease; `retries`: how many attributed
    deaths it may outlive.
    """
    outlived = tuple(worker_of(session.seat) for session in _attributed(sessions, notes, living, call_id))
    if not outlived:
        return Judgement(Verdict.PASSENGER)
    is_convicted = len(outlived) > retries or len(outlived) >= CONVICTED_AT
    return Judgement(Verdict.CONVICTED if is_convicted else Verdict.SUSPECT, outlived)


def _attributed(
    sessions: Sequence[PastSession], notes: Mapping[str, DeathNote], living: Collection[str], call_id: str
) -> list[PastSession]:
    found, unknown_in_a_row = [], 0
    for session in sessions:
        note = notes.get(session.seat)
        if note is None:
            is_unknown = session.seat not in living and session.is_young(session.left_at_ms)
            unknown_in_a_row = unknown_in_a_row + 1 if is_unknown else 0
            is_attributed = unknown_in_a_row >= UNKNOWN_IN_A_ROW
        else:
            unknown_in_a_row = 0
            is_attributed = _is_attributed(session, note, call_id)
        if is_attributed:
            found.append(session)
    return found


def _is_attributed(session: PastSession, note: DeathNote, call_id: str) -> bool:
    if not note.cause.is_own_doing:
        return False
    return note.call_id == call_id if note.call_id else session.is_young(note.at_ms)


def _read(entry: str) -> PastSession | None:
    """An entry of `deaths`; None when it cannot be read."""
    try:
        seat, since_ms, left_at_ms = entry.rsplit("/", 2)
        return PastSession(seat, int(since_ms), int(left_at_ms))
    except ValueError:
        return None
