"""Which files are made of all this, and where they lie."""

from pathlib import Path
from typing import Any

import yaml

from deploy.monitoring.alerts import alerts
from deploy.monitoring.dashboards import BOARDS
from deploy.monitoring.panels import render
from deploy.monitoring.promql import Clock
from deploy.monitoring.recording import recordings

DEPLOY = Path(__file__).parent.parent
RUNBOOK = "docs/runbook.md"
NAMES = {"sfvopi-fleet": "fleet", "sfvopi-calls": "call-experience"}
NAMES |= {"sfvopi-workers": "worker-health", "sfvopi-business": "business"}
MADE = "# Made by `make dashboards` from deploy/monitoring; change it there.\n"


def files(runbook: str = RUNBOOK) -> dict[Path, str]:
    """All that is committed: its path, its text. `runbook`: where people find it, a URL once there is one."""
    boards = {DEPLOY / "grafana" / "dashboards" / f"{NAMES[board.uid]}.json": render(board) for board in BOARDS}
    rules = DEPLOY / "prometheus"
    return {
        **boards,
        rules / "recording-rules.yml": MADE + to_yaml(recording_rules()),
        rules / "alert-rules.yml": MADE + to_yaml(alert_rules(runbook=runbook)),
    }


def recording_rules(clock: Clock | None = None) -> dict[str, Any]:
    """What Prometheus is to compute, as its rule file has it."""
    clock = clock or Clock()
    rules = [{"record": each.name, "expr": each.expression} for each in recordings(clock)]
    return {"groups": [{"name": "sfvopi-recorded", "rules": rules}]}


def alert_rules(clock: Clock | None = None, runbook: str = RUNBOOK) -> dict[str, Any]:
    """The alerts, as a rule file has them."""
    clock = clock or Clock()
    rules = []
    for each in alerts(clock):
        rule: dict[str, Any] = {"alert": each.name, "expr": each.expression}
        if each.lasts_s:
            rule["for"] = clock(each.lasts_s)
        rule["labels"] = {"severity": each.severity}
        rule["annotations"] = {"summary": each.summary, "runbook_url": f"{runbook}#{each.name.lower()}"}
        rules.append(rule)
    return {"groups": [{"name": "sfvopi-alerts", "rules": rules}]}


def to_yaml(content: dict[str, Any]) -> str:
    """In the order in which it was written."""
    text: str = yaml.safe_dump(content, sort_keys=False, width=1000)
    return text
