"""What the manifests promise: calls can finish, probes ask what is there, nobody has more rights than it needs."""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway.app import build
from shared.fleet.address import is_worker_address
from shared.registry import MemoryRegistry
from shared.settings import FleetSettings, GatewaySettings, HousekeepingSettings, WorkerSettings
from shared.settings.fleet import known_names
from shared.telemetry.endpoints import health_routes
from shared.telemetry.health import Health
from shared.telemetry.meter import Meter
from tests.unit.deploy.manifests import (
    FOLDER,
    OVERLAYS,
    Document,
    Manifests,
    as_made,
    as_written,
    environment_of,
    kustomize,
    read,
)
from worker.server import worker_app

VERSIONS = ("1.32", kubernetes_validate.latest_version())
WITHOUT_SCHEMA = {"ScaledObject", "TriggerAuthentication", "Certificate", "PodMonitor"}  # tested below, by us
OF_KUSTOMIZE = {"sfvopi-secrets", "sfvopi-providers", "sfvopi-edge-tls"}
OURS = {
    "sfvopi-gateway": GatewaySettings,
    "sfvopi-worker": WorkerSettings,
    "sfvopi-housekeeping": HousekeepingSettings,
}
TAKES_CALLS = ("sfvopi-edge", "sfvopi-gateway", "sfvopi-worker")
AFTER_THE_DEADLINE_S = 60  # handing over, or cutting, with a good deal to spare


@pytest.fixture(params=["files", *OVERLAYS])
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return as_written() if request.param == "files" else as_made(request.param)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in known_names():
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_what_kubernetes_expects(manifests: Manifests, version: str) -> None:
    unknown = set()
    for document in manifests.documents:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            unknown.add(document["kind"])
    assert unknown <= WITHOUT_SCHEMA


def test_a_field_that_kubernetes_does_not_know_would_be_found() -> None:
    worker = yaml.safe_load(yaml.safe_dump(dict(as_written().all("Deployment")["sfvopi-worker"])))
    worker["spec"]["template"]["spec"]["terminationGracePeriod"] = 3720
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(worker, VERSIONS[0], strict=True)


# -- calls can finish


@pytest.mark.parametrize("name", TAKES_CALLS)
def test_a_pod_has_longer_to_end_than_its_calls(manifests: Manifests, name: str) -> None:
    settings = FleetSettings.read(**fleet_settings(manifests))
    pod = manifests.pods()[name]["spec"]
    longest_s = max(settings.drain_deadline_s, settings.max_call_s)
    assert pod["terminationGracePeriodSeconds"] >= longest_s + before_the_signal_s(pod) + AFTER_THE_DEADLINE_S


def test_a_drain_waits_for_the_longest_call(manifests: Manifests) -> None:
    settings = FleetSettings.read(**fleet_settings(manifests))
    assert settings.drain_deadline_s >= settings.max_call_s, "else a scale-down would cut a long call"


def test_what_is_dead_does_not_get_the_hour_that_calls_get(manifests: Manifests) -> None:
    for name in TAKES_CALLS:
        (container,) = manifests.pods()[name]["spec"]["containers"]
        assert container["livenessProbe"]["terminationGracePeriodSeconds"] <= 10


def test_nodes_are_not_emptied_under_calls(manifests: Manifests) -> None:
    for name in TAKES_CALLS:
        assert manifests.pods()[name]["metadata"]["annotations"] == {
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
            "karpenter.sh/do-not-disrupt": "true",
        }


def test_rollouts_take_nothing_away_before_there_is_another(manifests: Manifests) -> None:
    for name in TAKES_CALLS:
        assert manifests.all("Deployment")[name]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_evictions_go_one_by_one() -> None:
    for manifests in (as_written(), as_made("production")):
        budgets = manifests.all("PodDisruptionBudget").values()
        assert {frozenset(manifests.selected(budget["spec"]["selector"])) for budget in budgets} == {
            frozenset({name}) for name in TAKES_CALLS
        }
        assert {budget["spec"]["maxUnavailable"] for budget in budgets} == {1}


def test_gateways_and_the_edge_keep_apart(manifests: Manifests) -> None:
    for name in ("sfvopi-edge", "sfvopi-gateway"):
        affinity = manifests.pods()[name]["spec"]["affinity"]["podAntiAffinity"]
        (term,) = (t["podAffinityTerm"] for t in affinity["preferredDuringSchedulingIgnoredDuringExecution"])
        assert term["topologyKey"] == "kubernetes.io/hostname"
        assert manifests.selected(term["labelSelector"]) == {name}


# -- probes


def test_every_container_has_three_probes_and_each_asks_what_is_there(manifests: Manifests) -> None:
    for name, container in manifests.containers():
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container[kind]
            if http := probe.get("httpGet"):
                assert http["path"] in paths_at(name, ports[http["port"]]), (name, kind)
            elif tcp := probe.get("tcpSocket"):
                assert tcp["port"] in ports, (name, kind)
            else:
                assert probe["exec"]["command"][0] == "redis-cli"


def test_liveness_and_readiness_are_two_questions(manifests: Manifests) -> None:
    def path(name: str, kind: str) -> str:
        return str(manifests.pods()[name]["spec"]["containers"][0][kind]["httpGet"]["path"])

    for name in OURS:
        assert path(name, "livenessProbe") == "/healthz"
    assert path("sfvopi-worker", "readinessProbe") == path("sfvopi-worker", "startupProbe") == "/readyz"
    assert path("sfvopi-gateway", "readinessProbe") == "/healthz", "with Redis away /readyz would take all of them out"


def test_a_start_may_take_as_long_as_a_rehearsal(manifests: Manifests) -> None:
    (worker,) = manifests.pods()["sfvopi-worker"]["spec"]["containers"]
    probe = worker["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 4 * 60


# -- rights


def test_pods_are_restricted(manifests: Manifests) -> None:
    (namespace,) = manifests.all("Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in manifests.pods().items():
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod["spec"].keys()
    for _, container in manifests.containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_limits_are_set_and_tags_are_fixed(manifests: Manifests) -> None:
    for _, container in manifests.containers():
        for bound in ("requests", "limits"):
            assert container["resources"][bound].keys() == {"cpu", "memory"}
        assert re.search(r":[^:/]*\d[^:/]*$", container["image"]), container["image"]
        assert "latest" not in container["image"]


def test_housekeeping_alone_talks_to_the_api_server_and_may_patch_pods_only(manifests: Manifests) -> None:
    accounts = manifests.all("ServiceAccount")
    with_token = set()
    for name, pod in manifests.pods().items():
        assert pod["spec"]["serviceAccountName"] in accounts
        if pod["spec"]["automountServiceAccountToken"]:
            with_token.add(name)
    assert with_token == {"sfvopi-housekeeping"}
    assert not any(account["automountServiceAccountToken"] for account in accounts.values())
    (role,) = manifests.all("Role").values()
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]
    (binding,) = manifests.all("RoleBinding").values()
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == ["sfvopi-housekeeping"]
    assert not manifests.all("ClusterRole")


def test_no_secret_stands_in_a_file_but_those_of_the_trial(manifests: Manifests) -> None:
    secrets = manifests.all("Secret")
    assert not secrets or manifests is as_made("dev")
    for _, container in manifests.containers():
        for variable in container.get("env", []):
            if re.search("SECRET|TOKEN|KEY|REDIS_URL", variable["name"]):
                assert variable["valueFrom"]["secretKeyRef"]["name"] == "sfvopi-secrets" or secrets


# -- settings


def test_every_process_of_ours_can_be_started_with_what_it_is_given(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, container in manifests.containers():
        if name in OURS:
            given = environment_of(container, manifests)
            assert {n for n in given if n.startswith("SFVOPI_")} <= known_names()
            assert given["SFVOPI_BOTS"].startswith(mount_of(container, "bots") + "/")
            given["SFVOPI_BOTS"] = str(FOLDER / "base" / "bots.toml")
            given.setdefault("PUBLIC_WSS_URL", "ws://127.0.0.1:3000/ws")  # an overlay has it, and the secrets
            with monkeypatch.context() as patched:
                for variable, value in given.items():
                    patched.setenv(variable, value)
                settings = OURS[name].read()
            assert container["envFrom"][0]["configMapRef"]["name"].startswith("sfvopi-settings")
            if isinstance(settings, WorkerSettings):
                assert is_worker_address(settings.address, settings.own_networks)
            if isinstance(settings, GatewaySettings):
                build(settings, MemoryRegistry())
    assert OURS.keys() <= {name for name, _ in manifests.containers()}


def test_ports_that_are_declared_are_those_that_are_listened_on(manifests: Manifests) -> None:
    for name, container in manifests.containers():
        given = environment_of(container, manifests)
        listened = {int(value) for key, value in given.items() if re.fullmatch(r"SFVOPI_\w+_PORT", key)}
        if name == "sfvopi-edge":
            listened = {int(given["NGINX_LISTEN"].split()[0])}
        if name != "sfvopi-redis":
            assert {port["containerPort"] for port in container["ports"]} == listened, name


def test_service_links_do_not_pass_for_settings(manifests: Manifests) -> None:
    """A Service called sfvopi-gateway would set SFVOPI_GATEWAY_PORT to tcp://10.0.0.1:3000 in every pod."""
    assert all(pod["spec"]["enableServiceLinks"] is False for pod in manifests.pods().values())


def test_a_workers_id_is_its_pods_name(manifests: Manifests) -> None:
    for name, variable in (("sfvopi-worker", "SFVOPI_WORKER_ID"), ("sfvopi-gateway", "SFVOPI_GATEWAY_ID")):
        (container,) = manifests.pods()[name]["spec"]["containers"]
        assert {"name": variable, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}} in [
            {key: dict(value) if isinstance(value, dict) else value for key, value in v.items()}
            for v in map(without_defaults, container["env"])
        ]
    (housekeeping,) = manifests.pods()["sfvopi-housekeeping"]["spec"]["containers"]
    assert float(environment_of(housekeeping, manifests)["SFVOPI_POD_COSTS_S"]) > 0


def test_volumes_and_mounts_fit(manifests: Manifests) -> None:
    for name, pod in manifests.pods().items():
        claims = {
            claim["metadata"]["name"] for claim in manifests.workloads()[name]["spec"].get("volumeClaimTemplates", [])
        }
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])} | claims
        mounts = {m["name"] for container in pod["spec"]["containers"] for m in container["volumeMounts"]}
        assert mounts == volumes, name


# -- the network


def test_policies_services_and_monitors_mean_pods_and_ports_that_are_there(manifests: Manifests) -> None:
    for service in manifests.all("Service").values():
        names = manifests.selected({"matchLabels": service["spec"]["selector"]})
        assert len(names) == 1
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= port_names(manifests, *names)
    for policy in manifests.all("NetworkPolicy").values():
        names = manifests.selected(policy["spec"]["podSelector"])
        assert names, policy["metadata"]["name"]
        for rule in policy["spec"].get("ingress", []):
            for peer in rule.get("from", []):
                assert "podSelector" not in peer or manifests.selected(peer["podSelector"])
            if len(names) == 1:
                wanted = {port["port"] for port in rule["ports"]}
                assert wanted <= port_names(manifests, *names) | port_numbers(manifests, *names)


def test_every_pod_is_closed_but_for_the_ways_of_a_call(manifests: Manifests) -> None:
    (closed,) = (p for p in manifests.all("NetworkPolicy").values() if not p["spec"]["podSelector"])
    assert closed["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in closed["spec"]
    ways = {
        (source, target, port)
        for target, port, source in allowed(manifests)
        if source in manifests.pods() and target != "sfvopi-redis"
    }
    assert ways == {
        ("sfvopi-edge", "sfvopi-gateway", 3000),
        ("sfvopi-edge", "sfvopi-gateway", 9000),
        ("sfvopi-edge", "sfvopi-worker", 9100),
        ("sfvopi-gateway", "sfvopi-worker", 9100),
    }
    ways |= {("sfvopi-housekeeping", "sfvopi-edge", 8443)}  # which is open to everybody
    for policy in manifests.all("NetworkPolicy").values():
        if policy is not closed and "Egress" in policy["spec"]["policyTypes"]:
            (source,) = manifests.selected(policy["spec"]["podSelector"])
            for rule in policy["spec"]["egress"]:
                for peer in rule.get("to", []):
                    for target in manifests.selected(peer["podSelector"]) if "podSelector" in peer else ():
                        assert {(source, target, port["port"]) for port in rule["ports"]} <= ways


def test_only_the_edge_is_open_to_everybody(manifests: Manifests) -> None:
    open_to_all = {
        name
        for policy in manifests.all("NetworkPolicy").values()
        for rule in policy["spec"].get("ingress", [])
        if "from" not in rule
        for name in manifests.selected(policy["spec"]["podSelector"])
    }
    assert open_to_all == {"sfvopi-edge"}


# -- what has no schema here, and autoscaling


def test_both_ways_of_scaling_do_the_same() -> None:
    written = as_written()
    (hpa,), (scaled,) = written.all("HorizontalPodAutoscaler").values(), written.all("ScaledObject").values()
    (trigger,), (metric,) = scaled["spec"]["triggers"], hpa["spec"]["metrics"]
    assert trigger["metricType"] == metric["external"]["target"]["type"] == "AverageValue"
    assert trigger["metadata"]["targetValue"] == metric["external"]["target"]["averageValue"]
    assert scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == hpa["spec"]["behavior"]
    assert scaled["spec"]["minReplicaCount"] == hpa["spec"]["minReplicas"] >= 2
    assert scaled["spec"]["maxReplicaCount"] == hpa["spec"]["maxReplicas"]
    assert hpa["spec"]["scaleTargetRef"]["name"] == scaled["spec"]["scaleTargetRef"]["name"] == "sfvopi-worker"


def test_the_target_leaves_room_for_who_comes_while_a_worker_starts() -> None:
    capacity = int(settings_of_production()["SFVOPI_CALLS_PER_WORKER"])
    (scaled,) = as_written().all("ScaledObject").values()
    target = int(scaled["spec"]["triggers"][0]["metadata"]["targetValue"])
    assert 0.5 * capacity <= target <= 0.75 * capacity
    assert f"| knee | {knee_that_was_measured()} |" in (FOLDER.parents[1] / "docs" / "scaling.md").read_text()
    assert capacity <= 0.7 * knee_that_was_measured(), "real providers cost more than those of the benchmark"


def test_keda_asks_the_gateway_what_it_answers() -> None:
    written = as_written()
    (scaled,) = written.all("ScaledObject").values()
    (trigger,) = scaled["spec"]["triggers"]
    host, port, path = re.fullmatch(r"http://([\w.-]+):(\d+)(/.*)", trigger["metadata"]["url"]).groups()
    (namespace,) = written.all("Namespace")
    service = written.all("Service")[host.partition(".")[0]]
    assert host == f"{service['metadata']['name']}.{namespace}.svc"
    assert int(port) in {p["port"] for p in service["spec"]["ports"]}
    assert path in paths_at("sfvopi-gateway", 9000)
    assert trigger["metadata"]["valueLocation"] == "calls"  # what the gateway answers is tested where it is made
    (authentication,) = written.all("TriggerAuthentication").values()
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    (token,) = authentication["spec"]["secretTargetRef"]
    assert (token["parameter"], token["key"]) == ("token", "SFVOPI_API_TOKEN")
    assert scaled["spec"]["fallback"]["behavior"] == "currentReplicasIfHigher", "not knowing takes nothing away"


def test_the_certificate_is_what_the_edge_mounts() -> None:
    (certificate,) = as_written().all("Certificate").values()
    edge = as_written().pods()["sfvopi-edge"]["spec"]
    (tls,) = (v["secret"]["secretName"] for v in edge["volumes"] if v["name"] == "tls")
    assert certificate["spec"]["secretName"] == tls
    given = environment_of(edge["containers"][0], as_written())
    folder = mount_of(edge["containers"][0], "tls")
    assert given["CERTIFICATE"] == f"{folder}/tls.crt"
    assert f"ssl_certificate {folder}/tls.crt;" in given["NGINX_TLS"]
    assert f"ssl_certificate_key {folder}/tls.key;" in given["NGINX_TLS"]


def test_in_production_the_certificate_has_the_name_that_the_carrier_is_told() -> None:
    made = as_made("production")
    (certificate,) = made.all("Certificate").values()
    assert f"wss://{certificate['spec']['dnsNames'][0]}/ws" == made.settings["PUBLIC_WSS_URL"]


def test_every_process_is_scraped_where_it_shows_its_metrics() -> None:
    (monitor,) = as_written().all("PodMonitor").values()
    names = as_written().selected(monitor["spec"]["selector"])
    assert names == OURS.keys()
    scraped = {}
    for endpoint in monitor["spec"]["podMetricsEndpoints"]:
        assert [rule["targetLabel"] for rule in endpoint["relabelings"]] == ["component", "process"]
        for name, container in as_written().containers():
            for port in container["ports"]:
                if name in names and port["name"] == endpoint["port"]:
                    assert endpoint["path"] in paths_at(name, port["containerPort"])
                    scraped[name] = scraped.get(name, 0) + 1
    assert scraped == dict.fromkeys(OURS, 1)


@pytest.mark.parametrize("component", ["hpa", "keda"])
def test_replicas_are_the_autoscalers(component: str) -> None:
    made = {doc["metadata"]["name"]: doc for doc in with_component(component) if doc["kind"] == "Deployment"}
    assert "replicas" not in made["sfvopi-worker"]["spec"]
    assert made["sfvopi-gateway"]["spec"]["replicas"] >= 2


def test_names_of_generated_maps_change_with_what_is_in_them() -> None:
    """Then a change of settings or bots is a rollout, which no call notices."""
    for overlay in OVERLAYS:
        made = as_made(overlay)
        maps = set(made.all("ConfigMap")) | set(made.all("Secret"))
        assert all(re.search(r"-[a-z0-9]{10}$", name) for name in maps)
        for pod in made.pods().values():
            assert referred(pod) - OF_KUSTOMIZE <= maps


# -- what the tests above ask


def fleet_settings(manifests: Manifests) -> dict[str, str]:
    return {k.removeprefix("SFVOPI_").lower(): v for k, v in manifests.settings.items() if k.endswith("_S")}


def before_the_signal_s(pod: Document) -> float:
    """How long its preStop sleeps."""
    hook = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
    found = re.search(r"(?:^|\s)sleep (\d+)", " ".join(hook))
    return float(found[1]) if found else 0.0


def paths_at(name: str, port: int) -> set[str]:
    """Paths that the process of this name serves at this port."""
    if name == "sfvopi-gateway":
        settings = GatewaySettings(public_wss_url="ws://localhost/ws", token_secrets="a-key-of-some-length")
        gateway = build(settings, MemoryRegistry())
        app = {3000: gateway.public, 9000: gateway.internal}[port]
    elif name == "sfvopi-worker":
        parts: list[Any] = [None, None, Health(), Meter("worker"), "", dict]
        app = worker_app(*parts)
    else:
        return {route.path for route in health_routes(Health(), Meter("housekeeping"))}
    return {route.path for route in app.routes}


def port_names(manifests: Manifests, *names: str) -> set[str]:
    return {port["name"] for name, c in manifests.containers() if name in names for port in c["ports"]}


def port_numbers(manifests: Manifests, *names: str) -> set[int]:
    return {port["containerPort"] for name, c in manifests.containers() if name in names for port in c["ports"]}


def allowed(manifests: Manifests) -> Iterator[tuple[str, int, str]]:
    """Who may be reached at which port by whom, as the policies for incoming traffic say."""
    for policy in manifests.all("NetworkPolicy").values():
        for rule in policy["spec"].get("ingress", []):
            for peer in rule.get("from", []):
                for source in manifests.selected(peer["podSelector"]) if "podSelector" in peer else ():
                    for target in manifests.selected(policy["spec"]["podSelector"]):
                        for port in rule["ports"]:
                            yield target, port["port"], source


def mount_of(container: Document, volume: str) -> str:
    (path,) = (mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == volume)
    return str(path)


def without_defaults(variable: Document) -> dict[str, Any]:
    return {key: value for key, value in variable.items() if key in ("name", "value", "valueFrom")}


def settings_of_production() -> dict[str, str]:
    written = yaml.safe_load((FOLDER / "overlays" / "production" / "kustomization.yaml").read_text())
    return dict(literal.split("=", 1) for literal in written["configMapGenerator"][0]["literals"])


def knee_that_was_measured() -> int:
    """Calls on one core in the worst round that docs/measured.md has."""
    found = re.findall(r"^\| ours, direct \| (\d+)", (FOLDER.parents[1] / "docs" / "measured.md").read_text(), re.M)
    return min(int(knee) for knee in found)


def with_component(name: str) -> list[dict[str, Any]]:
    """The base with one component."""
    with tempfile.TemporaryDirectory() as folder:
        resources = os.path.relpath(FOLDER / "base", Path(folder).resolve())
        component = os.path.relpath(FOLDER / "components" / name, Path(folder).resolve())
        written = {"kind": "Kustomization", "resources": [resources], "components": [component]}
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(written))
        return read(kustomize(Path(folder).resolve()))


def referred(pod: Document) -> set[str]:
    """Names of ConfigMaps and Secrets that a pod needs."""
    found = set()
    for volume in pod["spec"].get("volumes", []):
        found |= {
            volume[kind][key] for kind, key in (("configMap", "name"), ("secret", "secretName")) if kind in volume
        }
    for container in pod["spec"]["containers"]:
        for source in container.get("envFrom", []):
            found |= {reference["name"] for reference in source.values() if isinstance(reference, dict)}
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            found |= {reference["name"]} if reference else set()
    return found
