"""Where calls and workers are remembered: the contract that every registry keeps.

Two keep it: `RedisRegistry` (the fleet's) and `MemoryRegistry` (a twin for tests and single processes). One
suite, `tests/contract`, holds them to it.

A slot is a lease: it has a time at which it ends by itself. A reservation ends when the stream did not come in
time; a live call's slot is renewed by its worker's heartbeats. Whoever counts slots counts those that have not
ended, so a dead worker's slots come back even if nobody cleans up.

What is away or broken raises `RegistryAway`; nothing else does.
"""

import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from shared.calls.record import CallRecord
from shared.calls.state import CallEvent, CallState
from shared.fleet.death import DeathNote
from shared.fleet.quarantine import Quarantine
from shared.fleet.worker import Heard, Order, WorkerRecord, WorkerView

TIMELINE_ENTRIES = 1000  # of a call that are kept, the newest
MOST_DEATHS = 16  # sessions in a call's `deaths`, the newest
LINE_KEPT_MS = 600_000  # places in line that lapsed so long ago are forgotten
LINE_TOPIC = "line"  # nudges: a slot was given back while somebody waits


def wall_clock_ms() -> int:
    """Unix milliseconds: the clock of a registry that is given no other."""
    return time.time_ns() // 1_000_000


class RegistryAway(Exception):
    """The registry did not answer, or not in time. Live calls go on; new ones are the caller's decision."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """A slot held for a call, until `expires_at_ms` unless a stream attaches."""

    call_id: str
    worker_id: str
    address: str
    expires_at_ms: int


class Exposed(NamedTuple):
    """A process beside the workers that shows its metrics: gateway or housekeeping, its id, IP:port."""

    component: str
    process_id: str
    address: str


class Place(NamedTuple):
    """A place in the line of callers who wait for a slot, since then."""

    call_id: str
    since_ms: int


class LapsedSlot(NamedTuple):
    """A slot that has ended, by itself or with its worker's lease, whichever was first."""

    call_id: str
    worker_id: str
    ended_at_ms: int


@dataclass(frozen=True, slots=True)
class Moved:
    """What `move` did. `record` is the call after the move, or as it is when nothing moved (None: unknown call)."""

    moved: bool
    before: CallState
    record: CallRecord | None


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of a call's timeline. `source` is "gateway:<id>", "worker:<id>" or "housekeeping"."""

    at_ms: int
    source: str
    event: str
    data: Mapping[str, Any] = field(default_factory=dict)


class Registry(Protocol):
    """Calls, workers, slots. Times are Unix ms; `now_ms` is this process' clock, corrected to the registry's."""

    settle_ms: int
    """For so long after `since_ms` nothing is placed."""

    # -- time and health
    def now_ms(self) -> int:
        """This process' clock plus the last known offset to the registry's."""

    async def sync_clock(self) -> int:
        """Ask the registry for its time; remember and return the offset in ms."""

    # -- the fleet
    async def heartbeat(self, worker: WorkerRecord, live_calls: Sequence[str], lease_ms: int) -> Heard:
        """Renew the worker's lease and the slots of its live calls; slots it does not name are left to end.

        Returns how things stand after that; an order only if it was given to this start of the worker.
        """

    async def give_order(self, worker: WorkerRecord, order: Order) -> None:
        """What the worker hears with its next heartbeats, as long as it is the process of this record."""

    async def saw_reconnect(self) -> None:
        """The carrier has brought a stream again that it had lost. Remembered while the fleet lives."""

    async def gateway_heartbeat(self, gateway_id: str, lease_ms: int) -> int:
        """Renew a gateway's lease; returns how many gateways have one."""

    async def expose(self, process: Exposed, lease_ms: int) -> None:
        """For so long this process' metrics are to be found there."""

    async def exposed(self) -> list[Exposed]:
        """Who has said so lately, in order. Workers are not among them: they say where they are themselves."""

    async def since_ms(self) -> int:
        """Since when calls are remembered: a worker's first heartbeat after a start without data; 0 before that."""

    async def remove_worker(self, worker_id: str) -> None:
        """The worker is gone, by its own word or the reaper's. Its slots go with it."""

    async def record_death(self, note: DeathNote) -> None:
        """How one start of a worker died. Kept for an hour; a second note of the same start replaces the first."""

    async def death_notes(self, seats: Collection[str]) -> Mapping[str, DeathNote]:
        """Of these starts of workers (`WorkerRecord.seat`), the notes that there are, by seat."""

    async def workers(self) -> list[WorkerView]:
        """All known workers, fresh or not, in order of their ids."""

    async def reserve(
        self,
        call_id: str,
        hold_ms: int,
        avoid: Collection[str] = (),
        *,
        number: str = "",
        ceiling: int = 0,
        is_live: bool = False,
        in_turn: bool = False,
        bot: str = "",
        is_suspect: bool = False,
    ) -> Reservation | None:
        """Hold a slot on the best worker (`shared.fleet.selector`), atomically; None when none can take it.

        Idempotent: a call that holds a slot on a worker that is still fresh gets that one again. Workers to
        `avoid` are passed over, whatever is held there; such a slot is given back once there is another. With a
        `ceiling`, None as well while so many other calls, placed for the same `number`, hold slots. A call that
        `is_live` has lost its worker: it goes up to capacities, whatever the workers offer, and no ceiling is asked.
        With a `bot`, only workers that can run it are looked at; one that lists no bots runs any. Unless the call
        `is_live`, a worker whose build of the bot is quarantined does not (`shared.fleet.quarantine`).

        `in_turn` is for calls that have never had a slot: those who wait in line before this one (all of them, if it
        has no place) count as if they had been given theirs, wherever their own numbers' ceilings let them and a
        worker that this call could have runs their bots. Who gets a slot is out of the line.

        A call that `is_suspect` may have killed its worker. It gets no worker on which another suspect was seated
        in the last `PROBATION_MS`, and none at all while half of the serving workers (one, at least) have such a
        suspect. All other calls get these workers only when there is no other.

        Nothing is placed for `settle_ms` after `since_ms`: workers are telling which calls live.
        """

    async def occupy(self, call_id: str, worker_id: str, lease_ms: int) -> bool:
        """The stream came: turn the call's slot on this worker into a live one, or take a free slot.

        False when the worker has, without this call, as many as it offers. A slot held elsewhere is given back.
        """

    async def count_for(self, number: str, call_id: str) -> None:
        """While the call holds a slot, it counts for the number's ceiling, though nobody asked `reserve` for one."""

    async def release(self, call_id: str) -> None:
        """Give the call's slot back, wherever it is. Nothing happens if there is none.

        Here, and when a call ends, whoever listens to `LINE_TOPIC` is nudged, if anybody waits in line for a slot.
        """

    async def lapsed_slots(self) -> list[LapsedSlot]:
        """Slots that ended by themselves, or whose worker's lease did, by worker and call. For the reaper."""

    # -- the line: callers who wait for a slot, in the order in which they came
    async def join_line(
        self, call_id: str, since_ms: int, lease_ms: int, *, number: str = "", ceiling: int = 0, bot: str = ""
    ) -> None:
        """Give the call a place that lasts for `lease_ms`; one that it has already, lapsed or not, is renewed.

        It waits for a worker that can run its `bot` (empty: any worker).

        A place that has lapsed keeps nobody waiting. It is remembered for `LINE_KEPT_MS`, so that who comes back
        to it is where he was.
        """

    async def keep_line(self, call_ids: Sequence[str], lease_ms: int) -> list[Place]:
        """Renew the places that these calls have (0: let them lapse); returns who waits now, first come first."""

    # -- calls
    async def get(self, call_id: str) -> CallRecord | None:
        """The call's record, or None."""

    async def get_many(self, call_ids: Sequence[str]) -> list[CallRecord | None]:
        """`get` of each, in their order, at a fraction of the cost; not all of one moment."""

    async def move(
        self, call_id: str, event: CallEvent, changes: Mapping[str, Any], *, fence: int | None = None
    ) -> Moved:
        """Apply an event by the table of `shared.calls.state`, atomically, with changes to the record's fields.

        Nothing is changed when the table lists no move from the call's state, or when `fence` is given and is
        not the call's epoch. `figures` in changes are merged into those that stand; `traceparent` stays what it was
        first. ATTACH makes a new epoch (the registry's time in ms, above any before), counts `attachments`, sets
        `first_attached_at_ms` once. An attachment with another `seat` than before sets `seated_at_ms`, and keeps
        the old one among the newest 16 of `deaths` (`seat/seated_at_ms/left_at_ms`). A move to
        ENDED sets `ended_at_ms` once. The first move sets `created_at_ms`.
        """

    async def patch(self, call_id: str, changes: Mapping[str, Any]) -> None:
        """Change fields without moving. Unknown calls are left unknown. `figures` are merged."""

    async def restore(self, record: CallRecord) -> bool:
        """Write down a call that was lost (the registry was restarted empty); whether it was. A known one stays.

        What was lost with it is that it counts for its number's ceiling: it does again.
        """

    async def save_checkpoint(self, call_id: str, checkpoint: str, epoch: int) -> bool:
        """Keep what another worker needs to go on with the call; a move to ENDED drops it.

        False, and nothing is kept, when the call is over, unknown, or `epoch` is not its own any more.
        """

    async def load_checkpoint(self, call_id: str) -> str | None:
        """What was kept last, or None."""

    async def recent_calls(self, limit: int = 50, before_ms: int | None = None) -> list[CallRecord]:
        """The newest calls first; with `before_ms`, of those that were created before this time."""

    async def note(self, call_id: str, entries: Sequence[TimelineEntry]) -> None:
        """Append to the call's timeline (kept to the newest `TIMELINE_ENTRIES`)."""

    async def write_down(
        self, entries: Mapping[str, Sequence[TimelineEntry]], figures: Mapping[str, Mapping[str, float]]
    ) -> None:
        """`note` for these calls, and `patch` of their figures, in as few round trips as possible."""

    async def timeline(self, call_id: str, after: int = 0) -> list[TimelineEntry]:
        """The call's timeline from entry number `after` on (0: all)."""

    # -- endings
    async def enqueue_ending(self, call_id: str) -> None:
        """Put an ended call into the outbox for housekeeping, once; give its slot and its place in line back."""

    async def outbox(self, limit: int = 100) -> list[str]:
        """Ids of ended calls that wait for housekeeping, oldest first."""

    async def close_record(self, call_id: str) -> CallRecord | None:
        """Set `closed_at_ms` of an ended call, once; the record then. None: unknown, alive, or closed before."""

    async def outbox_done(self, call_ids: Sequence[str]) -> None:
        """Housekeeping has closed these."""

    async def forget_before(self, at_ms: int) -> int:
        """Retention: drop ended calls created before this time, with their timelines; returns how many."""

    # -- bots that kill workers (`shared.fleet.quarantine`)
    async def convict(self, call_id: str, bot: str, build: str) -> Quarantine | None:
        """This call has killed its workers, the last of them with this build of its bot. Once for each call.

        Returns the quarantine that holds for the build now: three different calls within ten minutes make one.
        """

    async def quarantined(self) -> list[Quarantine]:
        """All quarantines, by bot; those that no worker's build is concerned by any more, too."""

    async def release_bot(self, bot: str) -> bool:
        """End the bot's quarantine and forget its convicted calls; False when it was not quarantined."""

    # -- nudges: a hint to look at the truth sooner; may be lost
    async def nudge(self, topic: str, message: str) -> None:
        """Tell whoever listens to the topic (a worker id, `LINE_TOPIC`)."""

    def nudges(self, topic: str) -> AsyncIterator[str]:
        """Messages to the topic, from now on; ends with `RegistryAway` when the registry goes away."""

    async def close(self) -> None:
        """Give sockets back."""
