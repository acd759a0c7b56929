"""What ends a worker's capacity, and at how many calls."""

from typing import Any

import pytest

from worker.capacity.limits import Limit, Room, capacity_of, room_in_files, room_in_memory
from worker.load import Memory

PLENTY = Room(1000, 1.0)


def search(knee: int | None, *, broken: list[str] | None = None, used_pct: float = 50.0) -> dict[str, Any]:
    """A search that held `knee` calls, and not two more."""
    holds = [{"calls": knee, "broken": [], "core_pct": used_pct, "others_on_core_pct": 0.0}] if knee else []
    if broken:
        failed = {"calls": (knee or 0) + 2, "broken": broken, "core_pct": used_pct, "others_on_core_pct": 1.0}
        holds.append(failed)
    return {"knee": knee, "is_open": not broken, "holds": holds}


@pytest.mark.parametrize(
    ("found", "limit"),
    [
        (search(30, broken=["loop lag p99 25 ms (limit 20)"], used_pct=97), Limit.CPU),
        (search(30, broken=["underruns: 3"], used_pct=90), Limit.CPU),
        (search(30, broken=["loop lag p99 25 ms (limit 20)"], used_pct=40), Limit.LAG),
        (search(30, broken=["response p50 1900 ms (limit 1200)"], used_pct=40), Limit.ANSWERS),
        (search(30), Limit.BOUND),
    ],
)
def test_a_knee_is_named_by_what_was_used_up_where_it_broke(found: dict[str, Any], limit: Limit) -> None:
    capacity = capacity_of(found, PLENTY, PLENTY)
    assert (capacity.calls, capacity.limit) == (30, limit)
    assert capacity.is_open == (limit is Limit.BOUND)


def test_less_memory_or_fewer_files_than_the_knee_needs_are_the_limit() -> None:
    found = search(30, broken=["underruns: 3"])
    assert capacity_of(found, Room(12, 90.0), PLENTY).limit is Limit.MEMORY
    assert capacity_of(found, Room(12, 90.0), Room(8, 3.0)).to_dict()["limit"] == "sockets"
    assert capacity_of(found, Room(12, 90.0), Room(8, 3.0)).calls == 8


def test_nothing_held_is_no_capacity() -> None:
    assert capacity_of(search(None, broken=["calls lost: 1"]), PLENTY, PLENTY).calls == 0


def test_memory_leaves_a_reserve_and_says_nothing_when_it_knows_nothing() -> None:
    assert room_in_memory(Memory(1000, 500), 10.0, 20) == Room(60, 10.0)
    assert room_in_memory(None, 10.0, 20).calls is None
    assert room_in_memory(Memory(1000, 500), None, 20).calls is None
    assert room_in_memory(Memory(1000, 990), 10.0, 20).calls == 11


def test_files_are_those_that_calls_have_added() -> None:
    assert room_in_files(1024, 40, 100, 20) == Room(317, 3.0)
    assert room_in_files(None, 40, 100, 20).calls is None
    assert room_in_files(1024, 40, 40, 20).calls is None
