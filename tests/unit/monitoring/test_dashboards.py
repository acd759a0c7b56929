"""Dashboards and rules are what the code makes, ask for what exists, and every alert has its paragraph."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest

from deploy.monitoring.alerts import alerts
from deploy.monitoring.dashboards import BOARDS
from deploy.monitoring.files import files
from deploy.monitoring.panels import Board
from deploy.monitoring.promql import OF_TARGET, Clock, series
from deploy.monitoring.recording import recordings
from shared.telemetry.catalogue import ADMISSIONS, CATALOGUE, NAMED_BY_BOTS_FILE, Metric
from shared.telemetry.meter import Meter
from tests.documents import ROOT

FILES = files()
RECORDED = {recording.name for recording in recordings(Clock())}
METRICS = {metric.name: metric for metric in CATALOGUE}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_committed_file_is_what_the_code_makes(path: Path) -> None:
    assert path.read_text() == FILES[path], "run `make dashboards`"


def expressions() -> Iterator[tuple[str, str]]:
    """Everything that is asked of Prometheus, and where."""
    for board in BOARDS:
        for panel in board.panels:
            for query in panel.queries:
                yield f"{board.title}: {panel.title}", re.sub(r"\$__\w+", "1m", query.expression)
        for choice in board.choices:
            yield f"{board.title}: {choice.label}", series(choice.of)
    for recording in recordings(Clock()):
        yield recording.name, recording.expression
    for alert in alerts(Clock()):
        yield alert.name, alert.expression


def selectors(node: object) -> Iterator[promql_parser.VectorSelector]:
    """All of an expression's."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for child in ("expr", "lhs", "rhs", "vector_selector", "param"):
        if (found := getattr(node, child, None)) is not None:
            yield from selectors(found)
    for argument in getattr(node, "args", None) or ():
        yield from selectors(argument)


def metric_of(name: str) -> Metric | None:
    """The metric that a sample belongs to."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    metric = METRICS.get(base)
    return metric if metric is not None and metric.kind == "histogram" else METRICS.get(name)


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_what_is_asked_for_exists(where: str, expression: str) -> None:
    found = list(selectors(promql_parser.parse(expression)))
    assert found, "it asks for nothing"
    for selector in found:
        if selector.name in RECORDED:
            continue
        metric = metric_of(selector.name)
        assert metric is not None, f"{selector.name} is not in the catalogue"
        known = dict(metric.labels)
        for matcher in selector.matchers.matchers:
            assert matcher.name in {*known, *OF_TARGET, "le"}, f"{selector.name} has no label {matcher.name}"
            if matcher.name in known and matcher.name not in NAMED_BY_BOTS_FILE:
                assert set(matcher.value.split("|")) <= {str(value) for value in known[matcher.name]}


def test_a_bucket_that_is_asked_for_exists() -> None:
    text = "\n".join(expression for _, expression in expressions())
    asked = re.findall(r'(\w+)_bucket\{[^}]*le="([\d.]+)"', text)
    assert asked
    assert all(float(le) in METRICS[name].buckets for name, le in asked)


def test_a_process_serves_what_is_asked_of_processes() -> None:
    served = {family.name for family in Meter("test").registry.collect()}
    assert {metric.name.removesuffix("_total") for metric in CATALOGUE if metric.name.startswith("process_")} <= served


def test_a_query_over_what_does_not_exist_cannot_be_written() -> None:
    for wrong in (
        lambda: series(Metric("counter", "sfvopi_nothing_total", "")),
        lambda: series(ADMISSIONS, outcome="refused"),
        lambda: series(ADMISSIONS, result="refused|lost"),
    ):
        with pytest.raises(ValueError, match="sfvopi_"):
            wrong()


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.title)
def test_a_dashboard_asks_the_chosen_data_source_and_explains_itself(board: Board) -> None:
    (text,) = (text for path, text in FILES.items() if f'"uid": "{board.uid}"' in text)
    made = json.loads(text)
    panels = [panel for panel in made["panels"] if panel["type"] != "row"]
    assert [panel["title"] for panel in panels] == [panel.title for panel in board.panels]
    assert len({(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels}) == len(panels), "none lies upon another"
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in panels)
    assert {p["datasource"]["uid"] for p in panels} == {"${datasource}"}
    assert len({panel.title for panel in board.panels}) == len(panels)


def test_every_dashboard_can_be_drawn_and_is_shown_in_the_documents() -> None:
    page = (ROOT / "tests" / "monitoring" / "screenshots" / "page.jsx").read_text()
    drawn = {"row", *re.findall(r"^  (\w+): \(panel, ", page, re.MULTILINE)}
    told = (ROOT / "docs" / "monitoring.md").read_text()
    boards = {path.stem: json.loads(text) for path, text in FILES.items() if path.suffix == ".json"}
    assert len(boards) == len(BOARDS)
    for name, board in boards.items():
        assert {panel["type"] for panel in board["panels"]} <= drawn
        assert f"](dashboards/{name}.png)" in told
        assert (ROOT / "docs" / "dashboards" / f"{name}.png").stat().st_size < 400_000


def test_every_alert_has_a_paragraph_that_says_what_to_do() -> None:
    sections = (ROOT / "docs" / "runbook.md").read_text().split("\n## ")[1:]
    told = {section.partition("\n")[0]: section for section in sections}
    assert set(told) == {alert.name for alert in alerts(Clock())}
    for alert in alerts(Clock()):
        section = told[alert.name]
        assert f"*{alert.severity.capitalize()}.*" in section
        assert "**Look at** " in section
        assert "**Do** " in section


def test_durations_are_written_as_prometheus_reads_them() -> None:
    assert [Clock()(seconds) for seconds in (1, 90, 300, 3600, 86400, 604800)] == ["1s", "90s", "5m", "1h", "1d", "1w"]
    assert [Clock(20)(seconds) for seconds in (10, 50, 300)] == ["1s", "2500ms", "15s"]
