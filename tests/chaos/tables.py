"""A report as people read it: coloured on a terminal, or as the table of docs/measured.md."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = {
    "scene": "scene",
    "path": "path",
    "offered": "offered",
    "completed": "completed",
    "refused": "refused",
    "convicted": "convicted",
    "dropped": "dropped",
    "hit": "hit",
    "resumed": "resumed",
    "fresh": "fresh",
    "gap_p50_ms": "gap p50, ms",
    "gap_p95_ms": "gap p95, ms",
    "over_admitted": "over-admitted",
    "leaked_slots": "leaked slots",
    "drift": "drift",
}
WORDS = {True: "kept", False: "BROKEN", None: "not measured:"}
ALWAYS_0 = ("over_admitted", "leaked_slots", "drift")
UNKNOWN = "–"


def tell(report: dict[str, Any], *, as_markdown: bool, as_json: bool) -> int:
    """All of it; the exit status: 0 if every promise was kept."""
    show(report)
    if as_markdown:
        print(markdown(report), flush=True)
    if as_json:
        print(json.dumps(report), flush=True)
    return 0 if report["kept"] else 1


def show(report: dict[str, Any]) -> None:
    """On standard error."""
    console = Console(stderr=True, width=150)
    table = Table(title="Chaos", title_justify="left")
    for name in COLUMNS.values():
        table.add_column(name, justify="left" if name in ("scene", "path") else "right")
    for row in report["scenes"]:
        if "skipped" in row:
            table.add_row(row["scene"], row["path"], row["skipped"], style="dim")
            continue
        is_bad = bool(row["broken"] or row["lost"]) or any(row[key] != 0 for key in ALWAYS_0)
        table.add_row(*cells(row), style="red" if is_bad else "")
    table.add_section()
    table.add_row(*cells(in_all(report)))
    console.print(table)
    for row in report["scenes"]:
        for what in row["broken"]:
            console.print(f"broken: {row['scene']} ({row['path']}): {what}", style="red")
        for what in row["disagreements"]:
            console.print(f"disagrees: {row['scene']} ({row['path']}): {what}", style="red")
        if expected := row["dropped_as_expected"]:
            console.print(f"lost, as expected: {row['scene']} ({row['path']}): {expected} calls", style="yellow")
    for what in report["logs_found"]:
        console.print(f"in a log: {what}", style="red")
    for what in report["failed"]:
        console.print(f"not played to its end: {what}", style="red")
    console.print("  ".join(f"{WORDS[is_kept]} {name}" for name, is_kept in report["promises"].items()))


def markdown(report: dict[str, Any]) -> str:
    """Scenes that were played, then all of them together. A call that is lost on purpose stands behind a plus."""
    played = [row for row in report["scenes"] if "skipped" not in row]
    lines = [" | ".join(COLUMNS.values()), "|".join("---" for _ in COLUMNS)]
    lines += [" | ".join(cells(row)) for row in (*played, in_all(report))]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)


def in_all(report: dict[str, Any]) -> dict[str, Any]:
    return {**report, "scene": "all", "path": ""}


def cells(row: dict[str, Any]) -> list[str]:
    return [dropped(row) if key == "dropped" else cell(row[key]) for key in COLUMNS]


def dropped(row: dict[str, Any]) -> str:
    expected = row["dropped_as_expected"]
    return f"{row['dropped'] - expected}" + (f" + {expected}" if expected else "")


def cell(value: Any) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.0f}" if isinstance(value, float) else str(value)
