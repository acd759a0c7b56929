"""docker-compose.yml and the Dockerfile: what is promised of them, without an engine."""

import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.cli.fleet.environment import ROOT
from shared.settings import FleetSettings, GatewaySettings, HousekeepingSettings, WorkerSettings
from shared.settings.fleet import variable_of

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
MODELS: dict[str, type[FleetSettings]] = {
    "gateway": GatewaySettings,
    "worker": WorkerSettings,
    "housekeeping": HousekeepingSettings,
}
UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(given: str) -> int:
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smh])", given))


def variables(model: type[FleetSettings]) -> set[str]:
    return {variable_of(field, name) for name, field in model.model_fields.items()}


@pytest.mark.parametrize("service", ["gateway", "worker"])
def test_whoever_has_calls_is_given_longer_than_they_may_take(service: str) -> None:
    assert seconds(SERVICES[service]["stop_grace_period"]) > FleetSettings.model_fields["drain_deadline_s"].default


@pytest.mark.parametrize("service", MODELS)
def test_our_processes_can_do_little_in_their_containers(service: str) -> None:
    given = SERVICES[service]
    assert (given["read_only"], given["cap_drop"], given["restart"]) == (True, ["ALL"], "unless-stopped")
    assert given["security_opt"] == ["no-new-privileges:true"]
    assert given["mem_limit"]
    assert given["cpus"]


@pytest.mark.parametrize("service", MODELS)
def test_secrets_come_as_files_and_each_has_those_that_it_reads(service: str) -> None:
    given = SERVICES[service]["environment"]
    files = {name.removesuffix("_FILE") for name in given if name.endswith("_FILE")}
    assert files == set(SERVICES[service]["secrets"])
    assert files <= variables(MODELS[service])
    assert not {name for name in given if name.endswith(("_KEY", "_SECRETS", "_TOKEN"))}, "none in the environment"


def test_every_secret_is_made_by_the_script(tmp_path: Path) -> None:
    argv = ["sh", str(ROOT / "deploy/docker/secrets.sh"), str(tmp_path / "secrets")]
    subprocess.run(argv, check=True, capture_output=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir() if path.is_file()}
    assert set(made) == set(COMPOSE["secrets"])
    assert len(made["SFVOPI_TOKEN_SECRETS"].strip()) == 64
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    subprocess.run(argv, check=True, capture_output=True)
    assert {name: (tmp_path / "secrets" / name).read_text() for name in made} == made, "what is there is left alone"


def test_the_fleet_comes_up_by_default_and_the_rest_by_its_profile() -> None:
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    assert {name for name, of in profiles.items() if not of} == {"nginx", "gateway", "worker", "housekeeping", "redis"}
    assert {name for name, of in profiles.items() if of == ["monitoring"]} == {"prometheus", "alertmanager", "grafana"}
    assert profiles["demo"] == ["demo"]


def test_nothing_but_nginx_is_published_to_the_world() -> None:
    published = {name: port for name, service in SERVICES.items() for port in service.get("ports", [])}
    assert [name for name, port in published.items() if not port.startswith("127.0.0.1:")] == ["nginx"]


def test_every_image_of_others_has_a_version_and_can_be_another_one() -> None:
    others = [service["image"] for service in SERVICES.values() if "sfvopi-fleet" not in service["image"]]
    assert len(others) == 5
    for image in others:
        assert re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[a-z/]+:v?\d[\d.]*\}", image), image


def test_the_dockerfile_is_linted() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_images_are_of_pinned_packages_and_start_as_nobody_in_particular() -> None:
    text = DOCKERFILE.read_text()
    stages = re.findall(r"^FROM (\S+) AS (\S+)", text, re.MULTILINE)
    assert stages[-2:] == [("runtime", "gateway"), ("runtime", "worker")]
    assert "USER 10001" in text
    installs = [line for line in text.splitlines() if "pip install" in line or "install --" in line]
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
    for start in re.findall(r"^(?:ENTRYPOINT|CMD) (.*)", text, re.MULTILINE):
        assert start.startswith("["), "exec form: signals reach the process"


@pytest.mark.parametrize("name", ["gateway", "worker"])
def test_no_image_holds_piper_and_the_gateways_holds_no_pipecat(name: str) -> None:
    lock = (ROOT / f"deploy/docker/{name}.lock").read_text()
    packages = set(re.findall(r"^([a-z0-9.-]+)==", lock, re.MULTILINE))
    assert "starlette" in packages
    assert not {package for package in packages if "piper" in package or "whisper" in package}
    assert ("pipecat-ai" in packages) is (name == "worker")
