"""The alerts fire when they should, and are silent when all is well: asked of promtool, where it is installed."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.monitoring.alerts import alerts
from deploy.monitoring.files import DEPLOY, alert_rules, recording_rules
from deploy.monitoring.promql import Clock
from tests.documents import ROOT
from tests.unit.monitoring.alert_cases import CASES, HEALTHY, Case

RULES = [DEPLOY / "prometheus" / name for name in ("recording-rules.yml", "alert-rules.yml")]
NAMES = [alert.name for alert in alerts(Clock())]
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (apt: prometheus): alerts were not tried out"
)


def promtool(*arguments: str, cwd: Path = ROOT) -> str:
    ran = subprocess.run(["promtool", *arguments], capture_output=True, text=True, cwd=cwd, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def as_test(case: Case) -> dict[str, Any]:
    """A case as promtool wants it."""
    fired = {
        "exp_labels": {"severity": case.severity, **case.labels},
        "exp_annotations": {"summary": case.summary, "runbook_url": f"docs/runbook.md#{case.alert.lower()}"},
    }
    return {
        "name": case.alert,
        "interval": case.interval,
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [
            {"eval_time": case.quiet_at, "alertname": case.alert, "exp_alerts": []},
            {"eval_time": case.fires_at, "alertname": case.alert, "exp_alerts": [fired]},
        ],
    }


def run_tests(tests: list[dict[str, Any]], folder: Path, every: str = "30s") -> None:
    file = folder / "alerts.test.yml"
    file.write_text(
        yaml.safe_dump(
            {"rule_files": [str(rules) for rules in RULES], "evaluation_interval": every, "tests": tests},
            sort_keys=False,
        )
    )
    promtool("test", "rules", str(file))


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} == set(NAMES)


@needs_promtool
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_when_it_should_and_not_before(case: Case, tmp_path: Path) -> None:
    # a week in steps of half a minute takes a busy machine minutes
    run_tests([as_test(case)], tmp_path, "5m" if case.interval == "5m" else "30s")


@needs_promtool
def test_a_healthy_fleet_is_silent(tmp_path: Path) -> None:
    silent = [{"eval_time": at, "alertname": name, "exp_alerts": []} for name in NAMES for at in ("20m", "55m")]
    series = [{"series": name, "values": values} for name, values in HEALTHY.items()]
    run_tests([{"interval": "1m", "input_series": series, "alert_rule_test": silent}], tmp_path)


@needs_promtool
def test_prometheus_takes_its_files(tmp_path: Path) -> None:
    promtool("check", "config", "--syntax-only", str(DEPLOY / "prometheus" / "prometheus.yml"))
    promtool("check", "rules", *map(str, RULES))
    for scale in (1, 20, 1000):
        for name, made in (("recorded", recording_rules(Clock(scale))), ("alerts", alert_rules(Clock(scale)))):
            (tmp_path / name).write_text(yaml.safe_dump(made))
            promtool("check", "rules", str(tmp_path / name))


@pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not installed (apt: prometheus-alertmanager)")
def test_alertmanager_takes_its_file_and_pages_for_what_is_critical() -> None:
    file = str(DEPLOY / "alertmanager" / "alertmanager.yml")
    subprocess.run(["amtool", "check-config", file], check=True, capture_output=True)
    for severity, receiver in (("critical", "page"), ("warning", "chat")):
        asked = ["amtool", "config", "routes", "test", f"--config.file={file}", f"severity={severity}"]
        assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip() == receiver
