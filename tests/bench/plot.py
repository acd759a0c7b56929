"""The report as a picture: how many calls each subject carried on one core, and what a call cost it."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.report import at_knees, rounds_of

OURS_COLOUR, OTHERS_COLOUR = "#1f6f8b", "#b8b8b8"


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Write a PNG (or whatever the file's name ends in). Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    about = report["about"]
    knees = {name: found for name, found in report["knees"].items() if found["knee"] is not None}
    fixed = _at_one_number(at_knees(rounds_of(report))) | _at_one_number(report["held"])
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 3.6), width_ratios=(3, 2))
    names = sorted(knees, key=lambda name: knees[name]["knee"])
    values = [knees[name]["knee"] for name in names]
    spread = [
        [knees[name]["knee"] - knees[name]["lowest"] for name in names],
        [knees[name]["highest"] - knees[name]["knee"] for name in names],
    ]
    bars = left.barh(names, values, xerr=spread, color=[_colour(name) for name in names], ecolor="#444444", capsize=3)
    labels = [f"{'≥ ' if knees[name]['is_open'] else ''}{knees[name]['knee']:g}" for name in names]
    left.bar_label(bars, labels, padding=6)
    left.set_title("Calls on one core within the objectives (median, spread of rounds)", fontsize=9, loc="left")
    costs = {name: [row["cpu_s_per_call_min"] for row in rows] for name, rows in fixed.items()}
    order = sorted(costs, key=lambda name: -median(costs[name]))
    values = [median(costs[name]) for name in order]
    spread = [
        [value - min(costs[name]) for name, value in zip(order, values, strict=True)],
        [max(costs[name]) - value for name, value in zip(order, values, strict=True)],
    ]
    labels = [f"{name}, {fixed[name][0]['calls']} calls" for name in order]
    colours = [_colour(name) for name in order]
    bars = right.barh(labels, values, xerr=spread, color=colours, ecolor="#444444", capsize=3)
    right.bar_label(bars, [f"{value:.2f}" for value in values], padding=6)
    right.set_title("CPU seconds per call-minute (median, spread)", fontsize=9, loc="left")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.margins(x=0.18)
    where = f"{about['processor']}, Python {about['python']}, pipecat-ai {about['pipecat-ai']}, {about['at'][:10]}"
    figure.text(0.01, 0.01, where, fontsize=7, color="#666666")
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _at_one_number(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Each subject's measurements: at the number of calls that most have in common, or else at its own first."""
    numbers = [row["calls"] for row in rows]
    common = max(numbers, key=numbers.count, default=None)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["calls"] != common):
        others = found.setdefault(row["subject"], [])
        if not others or others[0]["calls"] == row["calls"]:
            others.append(row)
    return found


def _colour(name: str) -> str:
    return OURS_COLOUR if name.startswith("ours") else OTHERS_COLOUR
