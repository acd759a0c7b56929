"""What shows a symptom exists: every name that stands in backticks is one that a process really writes."""

import re
from collections.abc import Iterator
from dataclasses import fields

import pytest

from shared.calls.record import CallRecord
from shared.calls.timeline import TimelineEvent
from shared.carrier.report import CallReport
from shared.cli.doctor.symptoms import SYMPTOMS
from shared.sfvopi.errors import DropReason
from shared.sfvopi.messages import ClearAudio
from shared.telemetry.catalogue import CATALOGUE
from shared.telemetry.health import Readiness
from tests.documents import ROOT

METRICS = {metric.name: metric for metric in CATALOGUE}
QUOTED = re.compile(r"`([^`]+)`")
LOGGED = re.compile(r"(gateway|worker) log(?: at start)?[^`;]*((?:`[^`]+`[^`;]*)+)")
LABEL = re.compile(r'(\w+)\{(\w+)="(\w+)"\}')
NAMES = {
    *map(str, TimelineEvent),
    *map(str, Readiness),
    *(field.name for field in [*fields(CallReport), *fields(CallRecord)]),
    *(metric.figure for metric in CATALOGUE),
    *(f"dropped.{reason}" for reason in DropReason),
    *("dropped", f"sent.{ClearAudio.wire_name}", "start", "/readyz"),
}


def named() -> Iterator[str]:
    for symptom in SYMPTOMS:
        for clue in symptom.clues:
            yield from QUOTED.findall(f"{clue.cause} {clue.seen_in} {clue.remedy}")


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return {
        room: "\n".join(path.read_text() for path in sorted((ROOT / room).rglob("*.py")))
        for room in ("gateway", "worker", "shared/cli/doctor")
    }


@pytest.mark.parametrize("name", dict.fromkeys(named()))
def test_what_is_named_exists(name: str, sources: dict[str, str]) -> None:
    if name.startswith("sfvopi "):
        return  # a command: test_command_lines looks at it
    if labelled := LABEL.fullmatch(name):
        metric, label, value = labelled.groups()
        assert value in dict(METRICS[metric].labels)[label]
    elif name.startswith("sfvopi_"):
        assert name.removesuffix("_count") in METRICS
    elif name not in NAMES:
        checks = re.findall(r'(?:ok|warn|fail)\(\s*f?"([^"{]+)', sources["shared/cli/doctor"])
        written = [room for room in ("gateway", "worker") if f'"{name}' in sources[room]]
        assert written or name in {check.strip() for check in checks}


def test_log_lines_are_those_of_the_process_that_is_named(sources: dict[str, str]) -> None:
    clues = [clue.seen_in for symptom in SYMPTOMS for clue in symptom.clues]
    logged = [(room, line) for clue in clues for room, lines in LOGGED.findall(clue) for line in QUOTED.findall(lines)]
    assert len(logged) >= 6
    assert [line for room, line in logged if f'"{line}' not in sources[room]] == []
