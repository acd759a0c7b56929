"""Pod deletion costs, told to a server that speaks Kubernetes' API at the wire; no cluster was to be had."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from shared.fleet.worker import WorkerRecord, WorkerState, WorkerView
from shared.registry import RedisRegistry
from tests.redis_server import free_port
from tests.unit.worker.kubernetes_api import KubernetesApi, make_certificates
from worker.housekeeping.kubernetes import Kubernetes, KubernetesAway, PodRefused
from worker.housekeeping.pod_costs import COST, MOST_AT_ONCE, PodCosts, cost_of

NOW_MS = 1_800_000_000_000


def views(**calls: int) -> list[WorkerView]:
    return [
        WorkerView(WorkerRecord(name, "10.0.0.1:9100", WorkerState.SERVING, 40), used, NOW_MS + 5_000)
        for name, used in calls.items()
    ]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubernetesApi]:
    api = KubernetesApi(tmp_path)
    yield api
    api.stop()


@pytest.fixture
async def kubernetes(api: KubernetesApi) -> AsyncIterator[Kubernetes]:
    kubernetes = Kubernetes(api.url, api.account)
    yield kubernetes
    await kubernetes.close()


def test_costs_keep_the_order_of_calls_and_are_exact_for_the_idle() -> None:
    costs = [cost_of(calls) for calls in range(200)]
    assert costs == sorted(costs)
    assert costs[:9] == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert all(cost <= calls < cost * 1.25 for calls, cost in enumerate(costs) if calls)
    assert len(set(costs)) == 8 + 4 * 4 + 3, "a worker that goes from 0 to 199 calls is told so few times"


async def test_each_pod_is_told_once_and_again_only_when_its_cost_has_changed(
    api: KubernetesApi, kubernetes: Kubernetes
) -> None:
    api.pods = {"a": {"theirs": "stays"}, "b": {}}
    costs = PodCosts(kubernetes)
    assert await costs.tell(views(a=0, b=17), NOW_MS) == 2
    assert api.pods == {"a": {"theirs": "stays", COST: "0"}, "b": {COST: "16"}}
    assert await costs.tell(views(a=0, b=19), NOW_MS) == 0
    assert api.asked == 2, "16 to 19 calls are one cost"
    assert await costs.tell(views(a=1, b=19), NOW_MS) == 1
    assert api.pods["a"][COST] == "1"


async def test_a_worker_that_is_silent_is_left_alone(api: KubernetesApi, kubernetes: Kubernetes) -> None:
    api.pods = {"a": {}}
    assert await PodCosts(kubernetes).tell(views(a=3), NOW_MS + 5_000) == 0
    assert api.asked == 0


async def test_a_pod_that_is_gone_is_asked_about_once_and_keeps_no_other_waiting(
    api: KubernetesApi, kubernetes: Kubernetes
) -> None:
    api.pods = {"b": {}}
    costs = PodCosts(kubernetes)
    for _ in range(2):
        await costs.tell(views(a=0, b=4), NOW_MS)
    assert (api.asked, api.pods) == (2, {"b": {COST: "4"}})


async def test_a_conflict_is_tried_again_at_once(api: KubernetesApi, kubernetes: Kubernetes) -> None:
    api.pods = {"a": {}}
    api.answer_with = [409, 409]
    assert await PodCosts(kubernetes).tell(views(a=2), NOW_MS) == 1
    assert (api.asked, api.pods["a"][COST]) == (3, "2")


async def test_what_a_pod_is_refused_comes_with_the_next_round(api: KubernetesApi, kubernetes: Kubernetes) -> None:
    api.pods = {"a": {}, "b": {}}
    api.answer_with = [409, 409, 409]
    costs = PodCosts(kubernetes)
    with capture_logs() as lines:
        assert await costs.tell(views(a=0, b=1), NOW_MS) == 1
        assert api.pods == {"a": {COST: "0"}, "b": {}}
        assert await costs.tell(views(a=0, b=1), NOW_MS) == 1
    assert api.pods["b"] == {COST: "1"}
    assert [line["log_level"] for line in lines] == ["warning", "info"]


@pytest.mark.parametrize(("status", "why"), [(403, "may not patch pods"), (401, "token"), (429, "429"), (500, "500")])
async def test_a_server_that_says_no_is_asked_once_a_round_and_logged_once(
    api: KubernetesApi, kubernetes: Kubernetes, status: int, why: str
) -> None:
    api.pods = {"a": {}, "b": {}}
    api.answer_with = [status, status]
    costs = PodCosts(kubernetes)
    with capture_logs() as lines:
        for _ in range(2):
            assert await costs.tell(views(a=0, b=1), NOW_MS) == 0
        assert api.asked == 2
        assert await costs.tell(views(a=0, b=1), NOW_MS) == 2
    assert [line["log_level"] for line in lines] == ["warning", "info"]
    assert why in lines[0]["why"]


async def test_a_server_that_is_away_is_waited_for(api: KubernetesApi, kubernetes: Kubernetes) -> None:
    api.pods = {"a": {}}
    costs = PodCosts(kubernetes)
    api.stop()
    with capture_logs() as lines:
        assert await costs.tell(views(a=5), NOW_MS) == 0
    assert "ConnectError" in lines[0]["why"]
    api.start_again()
    assert await costs.tell(views(a=5), NOW_MS) == 1
    assert api.pods["a"][COST] == "5"


async def test_the_token_is_read_anew(api: KubernetesApi, kubernetes: Kubernetes) -> None:
    api.pods = {"a": {}}
    await kubernetes.annotate("a", {COST: "1"})
    api.token = "its-second-token"
    with pytest.raises(KubernetesAway, match="token is not accepted") as refused:
        await kubernetes.annotate("a", {COST: "2"})
    assert "first-token" not in str(refused.value)
    api.write_token("its-second-token")
    await kubernetes.annotate("a", {COST: "2"})
    assert api.pods["a"][COST] == "2"


async def test_a_server_of_another_authority_gets_no_token(api: KubernetesApi, tmp_path: Path) -> None:
    make_certificates(tmp_path, api.account / "ca.crt")
    stranger = Kubernetes(api.url, api.account)
    with pytest.raises(KubernetesAway, match="ConnectError"):
        await stranger.annotate("a", {COST: "1"})
    assert api.asked == 0
    await stranger.close()


async def test_a_name_leads_to_no_other_path(api: KubernetesApi, kubernetes: Kubernetes) -> None:
    for name in ("../../default/pods/a", "a/status", "a?x=y"):
        with pytest.raises((PodRefused, KubernetesAway)):
            await kubernetes.annotate(name, {COST: "1"})


async def test_of_very_many_changes_the_busiest_come_first(api: KubernetesApi, kubernetes: Kubernetes) -> None:
    many = views(**{f"w{number}": number % 3 for number in range(MOST_AT_ONCE + 20)})
    api.pods = {view.record.worker_id: {} for view in many}
    costs = PodCosts(kubernetes)
    assert await costs.tell(many, NOW_MS) == MOST_AT_ONCE
    left = {name for name, annotations in api.pods.items() if not annotations}
    assert all(view.used == 0 for view in many if view.record.worker_id in left)
    assert await costs.tell(many, NOW_MS) == 20


@pytest.mark.parametrize("account", [True, False])
def test_outside_of_a_cluster_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, account: bool) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(KubernetesAway, match="no pod" if account else "cannot use"):
        Kubernetes.of_this_pod() if account else Kubernetes("https://127.0.0.1", tmp_path)


async def test_housekeeping_tells_the_pods_of_its_workers(api: KubernetesApi, redis_url: str, tmp_path: Path) -> None:
    """The whole process, as a pod runs it, but for the place of the account's folder."""
    registry = RedisRegistry.connect(redis_url, command_timeout_s=5, connect_timeout_s=5)
    await registry.sync_clock()
    record = WorkerRecord("sfvopi-worker-7d9-x2", "10.0.0.1:9100", WorkerState.SERVING, 40)
    api.pods = {record.worker_id: {}}
    code = (
        "import pathlib, sys; import worker.housekeeping.kubernetes as k; from shared.process.main import run_process;"
        f"k.ACCOUNT = pathlib.Path({str(api.account)!r});"
        "from worker.housekeeping.__main__ import PROGRAM; sys.exit(run_process(PROGRAM, []))"
    )
    environment = {
        **os.environ,
        "REDIS_URL": redis_url,
        "SFVOPI_HOUSEKEEPING_PORT": str(free_port()),
        "SFVOPI_POD_COSTS_S": "0.1",
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(api.port),
    }
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, env=environment, stdout=sink, stderr=sink
        )
    try:
        for calls in (1, 3):
            await registry.heartbeat(record, [f"pod-costs-{number}" for number in range(calls)], 60_000)
            until = time.monotonic() + 30
            while api.pods[record.worker_id].get(COST) != str(calls):
                assert time.monotonic() < until, log.read_text()
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.02)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await registry.remove_worker(record.worker_id)
        await registry.close()
    assert "first-token" not in log.read_text()
