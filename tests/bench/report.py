"""The measurements as one object, as a table for people, as Markdown. Pure: no figure is made up here.

A ratio is told only where both of its sides were measured, with a mark where one of them may be higher, and CPU time
only of the same number of calls.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.table import Table

from worker.capacity.figures import rounded
from worker.capacity.slo import LIMITS

NOT_MEASURED = "not measured"
OURS, TWO_WORKERS, TWO_CORES = "ours-direct", "ours-two-workers", "ours-two-cores"
BOUNDS = {(False, False): "", (True, False): ">=", (False, True): "<=", (True, True): "~"}  # open: ours, theirs
SIGNS = {"": "", ">=": "≥ ", "<=": "≤ ", "~": "~ "}
Row = Mapping[str, Any]

KNEE_COLUMNS = (
    "subject",
    "knee (calls)",
    "rounds",
    "vs guide, no smart-turn",
    "vs guide",
    "disturbed holds",
    "limited by",
)
HELD_COLUMNS = {
    "subject": "subject",
    "calls": "calls",
    "cpu_s_per_call_min": "CPU s per call-minute",
    "rss_per_call_mb": "MB per call",
    "loop_lag_p99_ms": "loop lag p99 ms",
    "response_p50_ms": "response p50 ms",
    "barge_in_p95_ms": "barge-in p95 ms",
    "first_audio_p95_ms": "start → audio p95 ms",
    "stall_per_call_ms": "stall per new call ms",
    "stall_first_call_ms": "of the first call ms",
    "underruns": "underruns",
    "unanswered": "unanswered",
    "client_lag_p99_ms": "client lag p99 ms",
}


def make_report(
    about: Row, knees: Mapping[str, Sequence[Row]], held: Sequence[Row], took_s: float, cores: Row
) -> dict[str, Any]:
    """Everything, ready for JSON."""
    found = {name: knee_of(rounds) for name, rounds in knees.items()}
    return {
        "about": {**about, **cores, "took_s": round(took_s)},
        "slo": LIMITS.to_dict(),
        "knees": {name: {**found[name], "rounds": list(rounds)} for name, rounds in knees.items()},
        "held": list(held),
        "ratios": ratios(found, [*held, *at_knees(knees)]),
        "ratio_bounds": ratio_bounds(found),
    }


def knee_of(rounds: Sequence[Row]) -> dict[str, Any]:
    """The median of the rounds with its spread; a round that confirmed nothing is no zero."""
    known = [found["knee"] for found in rounds if found["knee"] is not None]
    return {
        "knee": median(known) if known else None,
        "lowest": min(known, default=None),
        "highest": max(known, default=None),
        "is_open": any(found["is_open"] for found in rounds),
    }


def at_knees(knees: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    """The confirming hold of each round, as a row of figures."""
    rows = []
    for name, rounds in knees.items():
        for found in rounds:
            if found["at_knee"]:
                rows.append({"subject": name, **found["at_knee"], **_arrivals(found)})
    return rows


def ratios(knees: Mapping[str, Row], rows: Sequence[Row]) -> dict[str, Any]:
    """Ours against the others'; what `ratio_bounds` names is only a bound."""
    told: dict[str, Any] = {}
    for name, other in knees.items():
        if OURS in knees and name != OURS:
            told[f"knee {OURS} / {name}"] = _ratio(knees[OURS], other)
            if name in (TWO_WORKERS, TWO_CORES):
                told[f"knee {name} / {OURS}"] = _ratio(other, knees[OURS])
    for calls in sorted({row["calls"] for row in rows}):
        cpu = {name: median(values) for name, values in _cpu_at(rows, calls).items()}
        if "echo" in cpu:
            for name in sorted(set(cpu) - {"echo"}):
                told[f"CPU {name} / echo at {calls} calls"] = rounded(cpu[name] / cpu["echo"])
    return told


def ratio_bounds(knees: Mapping[str, Row]) -> dict[str, str]:
    """Of ratios that are no more than a bound: >= while ours may be higher, <= while theirs may be, ~ for both."""
    ours = knees.get(OURS)
    told = {}
    for name, other in knees.items():
        if ours and name != OURS and (bound := BOUNDS[ours["is_open"], other["is_open"]]):
            told[f"knee {OURS} / {name}"] = bound
    return told


def marked(report: Row, name: str, value: Any) -> str:
    """A ratio for people."""
    return f"{report['ratio_bounds'].get(name, '')} {cell(value)}".strip()


def tables(report: Row) -> list[tuple[str, Sequence[str], list[list[str]]]]:
    """Title, columns and cells of each table."""
    return [
        ("Calls on one core", KNEE_COLUMNS, [_knee_row(report, name) for name in report["knees"]]),
        ("At a fixed number of calls, in a fresh process", list(HELD_COLUMNS.values()), _rows(report["held"])),
        ("At the knee, in every round", list(HELD_COLUMNS.values()), _rows(at_knees(rounds_of(report)))),
    ]


def rich_tables(report: Row) -> list[Table]:
    """For a terminal."""
    made = []
    for title, columns, rows in tables(report):
        if rows:
            table = Table(title=title, title_justify="left")
            for column in columns:
                table.add_column(column, justify="left" if column in ("subject", "limited by") else "right")
            for row in rows:
                table.add_row(*row)
            made.append(table)
    return made


def markdown(report: Row) -> str:
    """For documents."""
    about = report["about"]
    lines = [f"{about['processor']}, {about['cores']} cores, {about['memory_gb']} GB, Python {about['python']}, "]
    lines[0] += f"pipecat-ai {about['pipecat-ai']}, {about['at'][:10]}."
    for title, columns, rows in tables(report):
        if rows:
            lines += ["", f"**{title}**", "", _line(columns), _line(["---"] * len(columns)), *map(_line, rows)]
    if report["ratios"]:
        lines += ["", *(f"- {name}: {marked(report, name, value)}" for name, value in report["ratios"].items())]
    return "\n".join(lines)


def cell(value: Any) -> str:
    """A figure for people."""
    if value is None:
        return NOT_MEASURED
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return str(value)


def _knee_row(report: Row, name: str) -> list[str]:
    found = report["knees"][name]
    knee = cell(found["knee"])
    if found["is_open"] and found["knee"] is not None:
        knee = f"≥ {knee}"
    elif found["lowest"] != found["highest"]:
        knee += f" ({found['lowest']}–{found['highest']})"
    against = [_against(report, name, other) for other in ("guide-no-smart-turn", "guide")]
    limits = [reason for one in found["rounds"] for reason in one["limited_by"]]
    holds = [hold for one in found["rounds"] for hold in one["holds"]]
    disturbed = f"{sum(bool(hold['disturbed']) for hold in holds)} of {len(holds)}"
    return [name, knee, str(len(found["rounds"])), *against, disturbed, "; ".join(dict.fromkeys(limits)) or "–"]


def _against(report: Row, name: str, other: str) -> str:
    knees = report["knees"]
    ratio = _ratio(knees[name], knees[other]) if other in knees else None
    if ratio is None:
        return NOT_MEASURED
    return f"{SIGNS[BOUNDS[knees[name]['is_open'], knees[other]['is_open']]]}{ratio:.1f} ×"


def _ratio(mine: Row, theirs: Row) -> float | None:
    if mine["knee"] is None or not theirs["knee"]:
        return None
    return float(rounded(mine["knee"] / theirs["knee"]))


def _rows(rows: Sequence[Row]) -> list[list[str]]:
    return [[cell(row.get(key)) for key in HELD_COLUMNS] for row in rows]


def rounds_of(report: Row) -> dict[str, Sequence[Row]]:
    """Of each subject's knee."""
    return {name: found["rounds"] for name, found in report["knees"].items()}


def _arrivals(found: Row) -> dict[str, Any]:
    keys = ("rss_per_call_mb", "first_audio_p95_ms", "stall_per_call_ms", "stall_first_call_ms")
    return {key: found[key] for key in keys}


def _cpu_at(rows: Sequence[Row], calls: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["calls"] == calls:
            found.setdefault(row["subject"], []).append(row["cpu_s_per_call_min"])
    return found


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
