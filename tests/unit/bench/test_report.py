"""The report: nothing in it that was not measured."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from tests.bench.report import NOT_MEASURED, cell, make_report, markdown, rich_tables

ABOUT = {
    "processor": "a processor",
    "cores": 2,
    "memory_gb": 1.0,
    "python": "3",
    "pipecat-ai": "1",
    "at": "2026-01-01T",
}


def round_of(knee: int | None, *, is_open: bool = False, cpu: float = 2.0) -> dict[str, Any]:
    figures = {"calls": knee, "cpu_s_per_call_min": cpu, "loop_lag_p99_ms": 5.0}
    return {
        "knee": knee,
        "is_open": is_open,
        "limited_by": ["underruns: 3"],
        "holds": [
            {"calls": 1, "broken": [], "disturbed": ["client late"]},
            {"calls": 2, "broken": [], "disturbed": []},
        ],
        "at_knee": figures if knee else None,
        "rss_per_call_mb": 0.5,
        "first_audio_p95_ms": 100.0,
        "stall_per_call_ms": None,
        "stall_first_call_ms": 3.0,
    }


def report_of(knees: dict[str, list[dict[str, Any]]], held: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return make_report(ABOUT, knees, held or [], 12.3, {"subject_core": 0, "load_core": 1})


def test_a_knee_is_the_median_of_its_rounds_with_their_spread() -> None:
    report = report_of({"ours-direct": [round_of(50), round_of(55), round_of(48)]})
    found = report["knees"]["ours-direct"]
    assert (found["knee"], found["lowest"], found["highest"]) == (50, 48, 55)
    assert "| ours-direct | 50 (48–55) | 3 |" in markdown(report)


def test_a_round_that_confirmed_nothing_is_no_nought() -> None:
    report = report_of({"ours-direct": [round_of(None, is_open=True)], "guide": [round_of(2)]})
    assert report["knees"]["ours-direct"]["knee"] is None
    assert report["ratios"] == {"knee ours-direct / guide": None}
    assert f"| ours-direct | {NOT_MEASURED} | 1 | {NOT_MEASURED} | {NOT_MEASURED} |" in markdown(report)


def test_ratios_are_of_knees_that_were_found() -> None:
    report = report_of({"ours-direct": [round_of(50)], "guide-no-smart-turn": [round_of(10)]})
    assert report["ratios"]["knee ours-direct / guide-no-smart-turn"] == 5
    assert "5.0 ×" in markdown(report)


@pytest.mark.parametrize(
    ("is_ours_open", "is_theirs_open", "bound", "told"),
    [(False, True, "<=", "≤ 25.0 ×"), (True, False, ">=", "≥ 25.0 ×"), (True, True, "~", "~ 25.0 ×")],
)
def test_a_ratio_of_a_knee_that_may_lie_higher_is_marked(
    is_ours_open: bool, is_theirs_open: bool, bound: str, told: str
) -> None:
    report = report_of(
        {"ours-direct": [round_of(50, is_open=is_ours_open)], "guide": [round_of(2, is_open=is_theirs_open)]}
    )
    assert report["ratios"]["knee ours-direct / guide"] == 25
    assert report["ratio_bounds"] == {"knee ours-direct / guide": bound}
    assert told in markdown(report)
    assert f"- knee ours-direct / guide: {bound} 25.0" in markdown(report)


def test_two_workers_are_told_as_a_part_of_one() -> None:
    report = report_of({"ours-direct": [round_of(50)], "ours-two-workers": [round_of(46)]})
    assert report["ratios"]["knee ours-two-workers / ours-direct"] == 0.92


def test_cpu_time_is_compared_at_the_same_number_of_calls_only() -> None:
    held = [{"subject": "echo", "calls": 50, "cpu_s_per_call_min": 0.5}]
    report = report_of({"ours-direct": [round_of(50, cpu=1.0)], "guide": [round_of(2, cpu=9.0)]}, held)
    assert report["ratios"]["CPU ours-direct / echo at 50 calls"] == 2
    assert not [name for name in report["ratios"] if "CPU guide" in name]


def test_a_knee_says_how_much_of_its_search_was_disturbed() -> None:
    assert "| 2 of 4 |" in markdown(report_of({"ours-direct": [round_of(50), round_of(52)]}))


@pytest.mark.parametrize(
    ("value", "told"), [(None, NOT_MEASURED), (0.0, "0.00"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (7, "7")]
)
def test_a_cell_says_when_nothing_was_measured(value: Any, told: str) -> None:
    assert cell(value) == told


def test_it_is_json_and_a_table_for_people() -> None:
    report = report_of({"ours-direct": [round_of(50)]}, [{"subject": "echo", "calls": 50, "cpu_s_per_call_min": 0.5}])
    assert json.loads(json.dumps(report)) == report
    console = Console(record=True, width=240, file=io.StringIO())
    for table in rich_tables(report):
        console.print(table)
    assert "underruns: 3" in console.export_text()
