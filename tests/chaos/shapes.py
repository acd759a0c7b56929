"""The fleets that scenes are played on, each with what it needs of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

SORTS = ("crashes", "leaves", "sleeps", "spins", "eats", "crashes_late")
"""Bots of `tests.chaos.poison`."""


@dataclass(frozen=True, kw_only=True)
class FleetShape:
    """Scenes of one shape share a fleet. `bots` are functions of `tests.chaos.poison`, each at a number of its own."""

    name: str = ""
    workers: int = 2
    calls_per_worker: int = 8
    has_sentinel: bool = False
    bots: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def bots_file(self) -> str:
        """The numbers of these bots; any other number has the default's."""
        return "".join(f'["{number_of(bot)}"]\nbot = "tests.chaos.poison:{bot}"\n' for bot in self.bots)


def number_of(bot: str) -> str:
    """The number of ours at which a poisonous bot answers."""
    return f"+9180470010{SORTS.index(bot):02}"


# A fleet that is short of cores offers less by itself: how much is no part of what is promised here.
_POISON = {"SFVOPI_LAG_LIMIT_MS": "0", "SFVOPI_MEMORY_LIMIT_MB": "700"}

PLAIN = FleetShape()
SENTINEL = FleetShape(name="sentinel", has_sentinel=True)
POISONED = FleetShape(name="poisoned", workers=3, calls_per_worker=24, bots=SORTS, settings=_POISON)
# two culprits may kill four workers before the first of them has come again
POISONED_WIDE = FleetShape(name="poisoned-wide", workers=5, calls_per_worker=24, bots=SORTS, settings=_POISON)
POISONED_ALONE = FleetShape(name="poisoned-alone", workers=1, calls_per_worker=24, bots=SORTS, settings=_POISON)
SHAPES = (PLAIN, SENTINEL, POISONED, POISONED_WIDE, POISONED_ALONE)
