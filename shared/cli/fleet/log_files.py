"""The log files of a local fleet: one JSON object a line; read back, followed, and told in a line for people."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
QUIET_FIELDS = {
    "timestamp",
    "level",
    "event",
    "logger",
    "component",
    "process",
    "exception",
    "frames",
    "error",
    "worker_id",
}


def parse_line(line: str) -> dict[str, Any]:
    """A log line as its fields; a line that is no JSON object (a traceback, a library's print) as `{"text": …}`."""
    try:
        fields = json.loads(line)
    except ValueError:
        return {"text": line}
    return fields if isinstance(fields, dict) else {"text": line}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All lines of a log file."""
    try:
        return [parse_line(line) for line in path.read_text(errors="replace").splitlines()]
    except FileNotFoundError:
        return []


class Follower:
    """What was written to some files since the last look. Lines that are not finished yet wait."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = dict(paths)
        self._read: dict[str, int] = {}

    def new_lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(name, fields) of each new line, file by file."""
        for name, path in self._paths.items():
            try:
                with path.open("rb") as file:
                    file.seek(self._read.get(name, 0))
                    data = file.read()
            except FileNotFoundError:
                continue
            whole, newline, _ = data.rpartition(b"\n")
            self._read[name] = self._read.get(name, 0) + len(whole) + len(newline)
            for line in whole.decode(errors="replace").splitlines():
                yield name, parse_line(line)


def level_of(fields: Mapping[str, Any]) -> int:
    """The line's level as a number; what is no log line counts as a warning."""
    return LEVELS.get(str(fields.get("level", "")), 30)


def tell(name: str, fields: Mapping[str, Any]) -> str:
    """One tidy line: time, process, event, fields."""
    if "text" in fields:
        return f"{'':8} {name:<12} {fields['text']}"
    time = _local_time(str(fields.get("timestamp", "")))
    rest = " ".join(f"{key}={value}" for key, value in fields.items() if key not in QUIET_FIELDS)
    return " ".join(filter(None, [f"{time:8} {name:<12} {fields.get('event', '')}", rest, _error(fields)]))


def _error(fields: Mapping[str, Any]) -> str:
    """The exception of a line, with its message where the line has it, and where it was raised."""
    told = str(fields.get("error") or fields.get("exception", "")).strip().splitlines()[-1:]
    frames = fields.get("frames")
    where = [f"at {frames[-1]}"] if isinstance(frames, list) and frames else []
    return " ".join([*told, *where])


def _local_time(timestamp: str) -> str:
    try:
        return datetime.fromisoformat(timestamp).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return ""
