"""What the gateway's benchmark tells: each figure beside what is wanted."""

import pytest

from tests.bench.gateway.__main__ import WANTED, parse, told


def test_a_figure_that_misses_says_so_and_parts_that_were_not_run_say_nothing() -> None:
    lines = told({"relay": {"gateway_core_pct_per_call": 0.7, "added_p50_ms": 0.1, "added_p99_ms": 5.0}})
    assert len(lines) == len(WANTED["relay"])
    assert lines[0] == "relay: gateway_core_pct_per_call 0.7 (wanted: at most 0.6): missed"
    assert not any("missed" in line for line in lines[1:])


def test_parts_are_named_or_all_of_them_are_meant() -> None:
    assert parse(["relay", "--json"]).parts == ["relay"]
    assert parse([]).parts == []
    with pytest.raises(SystemExit):
        parse(["everything"])
