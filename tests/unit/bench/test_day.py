"""The simulated day, small: an HPA's arithmetic, whom a ReplicaSet takes, and an hour over a real Redis."""

import copy
from typing import Any

import pytest
import yaml

from shared.fleet.worker import WorkerState
from tests.bench.cluster import Autoscaler, Pod, whom_to_take
from tests.bench.day import K8S, Plan, play

HPA = yaml.safe_load((K8S / "components" / "hpa" / "hpa.yaml").read_text())


def scaler(**changes: Any) -> Autoscaler:
    hpa = copy.deepcopy(HPA)
    hpa["spec"] |= {"minReplicas": 3, "maxReplicas": 100} | changes
    hpa["spec"]["metrics"][0]["external"]["target"]["averageValue"] = "10"
    return Autoscaler(hpa)


def test_replicas_are_the_metric_over_the_target_rounded_up() -> None:
    assert scaler().wants(101, 8, 0) == 11
    assert scaler().wants(5, 3, 0) == 3, "at least"
    assert scaler().wants(5000, 95, 0) == 100, "at most"


def test_a_tenth_more_or_less_changes_nothing() -> None:
    assert scaler().wants(109, 10, 0) == 10
    assert scaler().wants(91, 10, 0) == 10


def test_a_figure_that_is_not_known_changes_nothing() -> None:
    assert scaler().wants(None, 40, 0) == 40


def test_scaling_up_is_limited_by_the_larger_of_its_policies() -> None:
    autoscaler = scaler()
    assert autoscaler.wants(900, 8, 0) == 18, "ten pods in a minute, or half as many again"
    assert autoscaler.wants(900, 18, 15) == 18, "that was within this minute"
    assert autoscaler.wants(900, 18, 60) == 28
    assert scaler().wants(900, 40, 0) == 60


def test_scaling_down_waits_for_its_window_then_goes_by_tenths() -> None:
    autoscaler = scaler()
    assert autoscaler.wants(400, 40, 0) == 40
    assert autoscaler.wants(100, 40, 300) == 40, "five minutes ago it wanted 40"
    assert autoscaler.wants(100, 40, 601) == 36
    assert autoscaler.wants(100, 36, 616) == 36, "a tenth in a minute"
    assert autoscaler.wants(100, 36, 661) == 32


def test_who_is_not_ready_goes_first_then_the_idlest_then_the_newest() -> None:
    serving = WorkerState.SERVING
    pods = [
        Pod("busy", 0, serving, cost=16),
        Pod("idle", 0, serving, cost=1),
        Pod("idle-and-newer", 50, serving, cost=1),
        Pod("starting", 90, cost=0),
    ]
    assert [p.name for p in whom_to_take(pods, 4)] == ["starting", "idle-and-newer", "idle", "busy"]


@pytest.mark.parametrize("has_costs", [True, False])
async def test_a_small_day_cuts_nobody(has_costs: bool) -> None:
    told = await play(Plan(peak=120, hours=0.75, mean_call_s=60, has_costs=has_costs))
    assert told.calls > 1000
    assert told.peak_calls > 100
    assert told.peak_serving >= 8
    assert told.drains > 0
    assert (told.cut_by_scale_down, told.over_admitted, told.lost_before_start) == (0, 0, 0)
    assert told.refused <= 0.04 * told.calls, "its rises are thirty times too steep"
    assert bool(told.cost_patches) is has_costs
    assert told.redis_us.keys() == {"reserve", "release", "heartbeat", "workers"}
