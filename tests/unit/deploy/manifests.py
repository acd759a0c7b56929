"""What deploy/k8s says: its files as they stand, and its overlays as kustomize makes them, where there is a kubectl."""

import functools
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.documents import ROOT

FOLDER = ROOT / "deploy" / "k8s"
OVERLAYS = ("dev", "production")
NO_KUBECTL = "no kubectl here: the files themselves are tested, what kustomize makes of them is not"

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Manifests:
    """Resources, by kind and name; `settings` are the variables that every process is given from the ConfigMap."""

    documents: tuple[Document, ...]
    settings: Mapping[str, str]

    def all(self, kind: str) -> dict[str, Document]:
        return {doc["metadata"]["name"]: doc for doc in self.documents if doc["kind"] == kind}

    def workloads(self) -> dict[str, Document]:
        return self.all("Deployment") | self.all("StatefulSet")

    def pods(self) -> dict[str, Document]:
        """Pod templates by the names of their workloads."""
        return {name: workload["spec"]["template"] for name, workload in self.workloads().items()}

    def containers(self) -> Iterator[tuple[str, Document]]:
        for name, pod in self.pods().items():
            for container in pod["spec"]["containers"]:
                yield name, container

    def selected(self, selector: Document) -> set[str]:
        """Workloads whose pods this label selector means."""
        return {name for name, pod in self.pods().items() if is_selected(pod["metadata"]["labels"], selector)}


def is_selected(labels: Mapping[str, str], selector: Document) -> bool:
    """Whether a label selector (matchLabels, matchExpressions with In) means these labels."""
    wanted = selector.get("matchLabels", {})
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        labels.get(expression["key"]) in expression["values"] for expression in expressions
    )


@functools.cache
def as_written() -> Manifests:
    """Every resource file of the base and of the components. Needs nothing but Python."""
    files = [path for part in ("base", "components") for path in sorted((FOLDER / part).rglob("*.yaml"))]
    documents = [doc for path in files if path.name != "kustomization.yaml" for doc in read(path.read_text())]
    return Manifests(tuple(documents), settings_of((FOLDER / "base" / "settings.env").read_text()))


@functools.cache
def as_made(overlay: str) -> Manifests:
    """An overlay as `kubectl kustomize` makes it. Skips, saying so, where there is no kubectl."""
    documents = read(kustomize(FOLDER / "overlays" / overlay))
    (settings,) = (
        doc["data"] for doc in documents if doc["kind"] == "ConfigMap" and "sfvopi-settings" in doc["metadata"]["name"]
    )
    return Manifests(tuple(documents), settings)


def kustomize(folder: Path) -> str:
    """What is to be applied, as YAML."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip(NO_KUBECTL)
    made = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return made.stdout


def read(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def settings_of(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


def environment_of(container: Document, manifests: Manifests) -> dict[str, str]:
    """The variables of a container, with stand-ins for what Kubernetes fills in."""
    given = dict(manifests.settings) if container.get("envFrom") else {}
    for variable in container.get("env", []):
        given[variable["name"]] = variable.get("value", STAND_INS.get(variable["name"], "not-a-real-one-" * 2))
    return {name: value.replace("$(POD_IP)", given.get("POD_IP", "")) for name, value in given.items()}


STAND_INS = {"REDIS_URL": "redis://redis:6379/0", "POD_IP": "10.1.2.3"}
