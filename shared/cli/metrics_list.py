"""`sfvopi metrics`: every metric of the catalogue with its kind, labels and meaning; and docs/metrics.md."""

from typing import Annotated

import typer

from shared.cli.faults import reported
from shared.cli.reach import JsonOption
from shared.cli.terminal import show, show_json, show_table
from shared.telemetry.catalogue import BUILD, CATALOGUE, NAMED_BY_BOTS_FILE, Metric

SHORT_SET = 4  # label values that fit into a cell; longer sets have a table of their own


@reported
def metrics(
    as_json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/metrics.md has it.")] = False,
) -> None:
    """List every metric that a process of the fleet has: its kind, its labels, what it means. Their values are at
    /metrics of each process.

    \b
    Examples:
      sfvopi metrics
      sfvopi metrics --json | jq -r '.[].name'
      sfvopi metrics --markdown > docs/metrics.md
    """
    if markdown:
        return show(as_markdown())
    if as_json:
        return show_json([_as_dict(metric) for metric in CATALOGUE])
    rows = [[metric.name, metric.kind, ", ".join(_labels(metric)), metric.help] for metric in CATALOGUE]
    return show_table(["metric", "kind", "labels", "meaning"], rows)


def as_markdown() -> str:
    """The catalogue as a document."""
    lines = [
        "# Metrics",
        "",
        "Made from the code by `sfvopi metrics --markdown`. Every process serves its own at `/metrics` of its internal",
        "port (a worker: of its one port); scrape every process. A process that has nothing to say of a metric leaves",
        "it at 0 or without samples. Times are in seconds. No label ever holds a call id or a number: what belongs to",
        "one call stands in its record, under the name in the last column (`sfvopi calls show CALL`). Labels with many",
        "values are spelled out below; `bot` and `number_group` are names of the bots file (`SFVOPI_BOTS`) or `other`.",
        "In OpenMetrics, histograms name a call of each bucket (an exemplar, which is not a label).",
        "",
        "| metric | kind | labels | meaning | figure of a call |",
        "| --- | --- | --- | --- | --- |",
        *(_row(metric) for metric in CATALOGUE),
        "",
        "## Values of labels",
        "",
        "| metric | label | values |",
        "| --- | --- | --- |",
    ]
    for metric in CATALOGUE:
        lines += [f"| `{metric.name}` | `{label}` | {_listed(values)} |" for label, values in _long_labels(metric)]
    return "\n".join(lines)


def _row(metric: Metric) -> str:
    long = dict(_long_labels(metric))
    labels = "; ".join(
        f"`{label}`" if label in long or label in NAMED_BY_BOTS_FILE else f"`{label}`: {_listed(values)}"
        for label, values in metric.labels
    )
    if metric is BUILD:
        labels = ", ".join(f"`{label}`" for label in _labels(metric))
    figure = f"`{metric.figure}`" if metric.figure else ""
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} | {figure} |"


def _long_labels(metric: Metric) -> list[tuple[str, tuple[str, ...]]]:
    return [(label, values) for label, values in metric.labels if len(values) > SHORT_SET]


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(str(value) for value in values)


def _labels(metric: Metric) -> list[str]:
    return ["version", "component"] if metric is BUILD else [label for label, _ in metric.labels]


def _as_dict(metric: Metric) -> dict[str, object]:
    return {
        "name": metric.name,
        "kind": metric.kind,
        "help": metric.help,
        "labels": {label: [str(value) for value in values] for label, values in metric.labels},
        "buckets": list(metric.buckets),
        "figure": metric.figure,
    }
