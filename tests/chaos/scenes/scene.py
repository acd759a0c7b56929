"""What a scene is: a name, what it does to a fleet, where it is played, and what may be lost in it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos.shapes import PLAIN, FleetShape
from tests.chaos.stage import Stage

BOTH = ("relayed", "direct")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """`quick_paths` are those of a quick run; `calls` is how many come on, which the scene may multiply."""

    name: str
    what: str
    play: Callable[[Stage, "Scale"], Awaitable[None]]
    paths: tuple[str, ...] = BOTH
    quick_paths: tuple[str, ...] = BOTH
    calls: int = 8
    rounds: int = 1  # in a full run
    needs: tuple[str, ...] = ()  # options of the local fleet without which it cannot be played
    needs_settings: tuple[str, ...] = ()
    shape: FleetShape = PLAIN  # of the fleet that it is played on
    drops_allowed: bool = False
    counts_gap: bool = False


@dataclass(frozen=True)
class Scale:
    """How big: so many calls, and `is_quick` for shorter outages."""

    calls: int
    is_quick: bool
    seconds: float = 0.0  # of the scene that has no natural end

    def of(self, full: float, quick: float) -> float:
        return quick if self.is_quick else full
