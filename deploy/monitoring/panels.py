"""Panels and dashboards as data, and what Grafana's own library makes of them."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

from deploy.monitoring.promql import series
from shared.telemetry.catalogue import Metric

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT, STAT_HEIGHT = 8, 4

Kind = Literal["lines", "stack", "stat"]
Colours = tuple[tuple[float | None, str], ...]  # of a number, from which value on; the first has none
FINE: Colours = ((None, "green"),)  # said, since a number without colours is red in Grafana from 80 on


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and what its series are called. `exemplars`: with single calls as dots, by their ids."""

    expression: str
    legend: str = ""
    exemplars: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """`width` of 24; `unit` as Grafana names it; `is_still`: in a healthy fleet under load its values may stay.
    `decimals` and `colours` are for numbers."""

    title: str
    help: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = "lines"
    width: int = 8
    is_still: bool = False
    decimals: int = 0
    colours: Colours = FINE


def number(
    title: str,
    help: str,
    expression: str,
    width: int,
    *,
    is_still: bool = False,
    decimals: int = 0,
    colours: Colours = FINE,
) -> Panel:
    """One number, as it is now."""
    query = (Query(expression),)
    return Panel(title, help, query, "short", "stat", width, is_still, decimals, colours)


@dataclass(frozen=True, slots=True)
class Choice:
    """A variable: the values of a label, to look at some of them only."""

    label: str
    of: Metric


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard: rows of panels."""

    uid: str
    title: str
    help: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    choices: tuple[Choice, ...] = ()

    @property
    def panels(self) -> list[Panel]:
        return [panel for _, panels in self.rows for panel in panels]


def render(board: Board) -> str:
    """The dashboard as Grafana's JSON."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.help)
        .tags(["sfvopi-fleet"])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for choice in board.choices:
        built.with_variable(_variable(choice))
    for title, panels in board.rows:
        built.with_row(dashboard.Row(title))
        for panel in panels:
            built.with_panel(_stat(panel) if panel.kind == "stat" else _lines(panel))
    return json.dumps(json.loads(JSONEncoder(sort_keys=True).encode(built.build())), indent=1, sort_keys=True) + "\n"


def _variable(choice: Choice) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(choice.label)
        .label(choice.label.replace("_", " "))
        .datasource(SOURCE)
        .query(f"label_values({series(choice.of)}, {choice.label})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .include_all(True)
        .all_value(".*")
        .multi(True)
    )


def _targets(panel: Panel) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery()
        .datasource(SOURCE)
        .ref_id(chr(ord("A") + n))
        .expr(query.expression)
        .legend_format(query.legend)
        .exemplar(query.exemplars)
        for n, query in enumerate(panel.queries)
    ]


def _stat(panel: Panel) -> Any:
    built = stat.Panel().title(panel.title).description(panel.help).datasource(SOURCE).unit(panel.unit)
    built.span(panel.width).height(STAT_HEIGHT).decimals(panel.decimals)
    steps = [Threshold(value, colour) for value, colour in panel.colours]
    built.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    for target in _targets(panel):
        built.with_target(target)
    return built


def _lines(panel: Panel) -> Any:
    built = timeseries.Panel().title(panel.title).description(panel.help).datasource(SOURCE).unit(panel.unit)
    built.span(panel.width).height(HEIGHT).min(0).line_width(1).show_points(VisibilityMode.NEVER)
    legend = common.VizLegendOptions().show_legend(True)
    built.legend(legend.display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM))
    built.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    if panel.kind == "stack":
        built.draw_style(GraphDrawStyle.LINE).fill_opacity(40)
        built.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    else:
        built.fill_opacity(8)
    for target in _targets(panel):
        built.with_target(target)
    return built
