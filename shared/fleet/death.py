"""How a worker process died, as its parent saw it. The parent outlives it, and says so once.

A note is evidence, no verdict: `shared/calls/culprit.py` judges. Whatever a newer version writes here that we
do not understand is read as a death by somebody else's hand, which convicts nobody.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from shared.fleet.worker import seat_name


class DeathCause(StrEnum):
    """What ended the process."""

    CRASHED = "crashed"  # a signal of its own making, or an exit status that is not 0
    FROZEN = "frozen"  # killed by the watchdog, for its event loop stood still
    MEMORY = "memory"  # killed for want of memory
    OUTSIDE = "outside"  # killed by anybody else
    ENDED = "ended"  # it left in good order

    @property
    def is_own_doing(self) -> bool:
        """Whether it was something that ran in the process."""
        return self in (DeathCause.CRASHED, DeathCause.FROZEN, DeathCause.MEMORY)


@dataclass(frozen=True, slots=True)
class DeathNote:
    """The death of one start of one worker."""

    worker_id: str
    started_at_ms: int
    at_ms: int  # by the registry's time; of a freeze, when it began
    cause: DeathCause
    call_id: str = ""  # of the session that its event loop was in; empty: of none, or nobody knows
    bot: str = ""  # of that session
    detail: str = ""  # one line for people, such as `SIGSEGV`

    @property
    def seat(self) -> str:
        """Which start of which worker died."""
        return seat_name(self.worker_id, self.started_at_ms)


def encode_note(note: DeathNote) -> str:
    """A note as one JSON object."""
    return json.dumps(asdict(note), separators=(",", ":"))


def decode_note(stored: str) -> DeathNote | None:
    """The note that was written; None when it cannot be read, or does not say who died."""
    try:
        given = json.loads(stored)
        return _note(given) if isinstance(given, dict) else None
    except (ValueError, TypeError, KeyError):
        return None


def _note(given: Mapping[str, Any]) -> DeathNote:
    return DeathNote(
        worker_id=str(given["worker_id"]),
        started_at_ms=int(given["started_at_ms"]),
        at_ms=int(given.get("at_ms", 0)),
        cause=_cause(given.get("cause")),
        call_id=str(given.get("call_id", "")),
        bot=str(given.get("bot", "")),
        detail=str(given.get("detail", "")),
    )


def _cause(name: object) -> DeathCause:
    try:
        return DeathCause(str(name))
    except ValueError:
        return DeathCause.OUTSIDE
