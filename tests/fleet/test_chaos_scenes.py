"""Scenes of the chaos suite, small; `make chaos` plays them all. What is promised is kept, by the callers' word."""

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.programme import scene_named
from tests.chaos.run import Run

pytestmark = pytest.mark.fleet


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("relayed", ["worker killed", "Redis restarted empty"]),
        pytest.param("direct", ["worker killed", "gateway killed", "nginx reloaded"], marks=pytest.mark.slow),
    ],
)
async def test_no_caller_is_lost(path: str, names: list[str], tmp_path: Path) -> None:
    run = Run([scene_named(name) for name in names], [path], tmp_path, is_quick=True, is_chosen=True, calls=4)
    report = await run.play()
    assert report["failed"] == report["logs_found"] == []
    assert dropped(run) == []
    assert report["offered"] == report["completed"] + report["refused"]
    assert report["resumed_after_kill"] == report["on_killed_workers"] > 0
    assert (report["over_admitted"], report["leaked_slots"], report["drift"]) == (0, 0, 0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", ["relayed", pytest.param("direct", marks=pytest.mark.slow)])
async def test_only_the_call_of_a_bot_that_kills_its_workers_pays(path: str, tmp_path: Path) -> None:
    """Once one such call killed every worker that the gateway brought it to, and nine processes died in 13 s."""
    run = Run([scene_named("poisonous")], [path], tmp_path, is_quick=True, is_chosen=True, calls=6)
    report = await run.play()
    assert report["failed"] == report["logs_found"] == []
    assert [what for result in run.results for what in (*result.broken, *result.disagreements)] == []
    assert (report["completed"], report["convicted"]) == (6, 5)
    assert (report["over_admitted"], report["leaked_slots"], report["drift"]) == (0, 0, 0)


def dropped(run: Run) -> list[dict[str, Any]]:
    return [caller.to_dict() for result in run.results for caller in result.unexpected_drops]
