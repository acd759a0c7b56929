"""Looks through every log of a run for what may stand in none: secrets, tokens, numbers, what was said."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

LOGS = ("*.jsonl", "*.log", "*.err", "*.out")
TOKEN = re.compile(r"[A-Za-z0-9_-]{60,}\.[A-Za-z0-9_-]{22}(?![A-Za-z0-9_-])")
SAID = ("this is caller", "which caller am", "you are caller", "bedtime story", "once upon a time")


def search(folder: Path, secrets: Mapping[str, str], numbers: Iterable[str]) -> list[str]:
    """`file:line: what` of each finding; the thing itself is not repeated."""
    wanted = {text.lower(): what for what, text in secrets.items() if text}
    wanted |= dict.fromkeys(SAID, "what was said")
    digits = {number.lstrip("+") for number in numbers}
    return list(_search(folder, wanted, digits))


def _search(folder: Path, wanted: Mapping[str, str], numbers: set[str]) -> Iterator[str]:
    long_digits = re.compile(r"\d{10,15}")
    for path in sorted({path for pattern in LOGS for path in folder.rglob(pattern)}):
        if path.name in ("providers.log",):  # a stand-in for a provider, which is told everything
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            low = line.lower()
            where = f"{path.relative_to(folder)}:{number}"
            yield from (f"{where}: {what}" for text, what in wanted.items() if text in low)
            if TOKEN.search(line):
                yield f"{where}: a stream token"
            if numbers.intersection(long_digits.findall(line)):
                yield f"{where}: a number"
