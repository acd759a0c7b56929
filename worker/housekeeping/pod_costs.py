"""Tells Kubernetes how busy each worker's pod is, so that scaling down takes the idlest first.

A ReplicaSet that has to take pods away begins with the lowest `pod-deletion-cost`. A worker finishes its calls in any
case; the idlest has the fewest to finish, and is gone soonest. Costs are rounded, and told on change: each is a write
to the cluster's store. Several housekeeping processes may tell; whoever sees the change tells it.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from shared.fleet.worker import WorkerView
from shared.telemetry.logs import get_logger
from worker.housekeeping.kubernetes import KubernetesAway, PodRefused

EXACT_BITS = 3  # 0 to 7 are told as they are, then every second, fourth … number
MOST_AT_ONCE = 100  # in one round; the rest comes with the next

log = get_logger(__name__)


class Pods(Protocol):
    """Whoever writes annotations. Raises `KubernetesAway`, `PodRefused`."""

    async def annotate(self, pod: str, annotations: Mapping[str, str]) -> None: ...


COST = "controller.kubernetes.io/pod-deletion-cost"


def cost_of(calls: int) -> int:
    """A worker's calls, to three significant bits: which is idler counts among the idle, and hardly among the busy."""
    unit = 1 << max(0, calls.bit_length() - EXACT_BITS)
    return calls // unit * unit


class PodCosts:
    """What each pod was told last. A worker's id is its pod's name (SFVOPI_WORKER_ID from metadata.name)."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods
        self._told: dict[str, int] = {}
        self._is_failing = False

    async def tell(self, views: Sequence[WorkerView], now_ms: int) -> int:
        """Tell what has changed; returns how many pods were told. What fails waits for the next round.

        The busiest come first: a pod of which nothing was told counts as idle.
        """
        costs = {view.record.worker_id: cost_of(view.used) for view in views if view.is_fresh(now_ms)}
        self._told = {pod: cost for pod, cost in self._told.items() if pod in costs}
        changed = sorted(((cost, pod) for pod, cost in costs.items() if self._told.get(pod) != cost), reverse=True)
        told, has_failed = 0, False
        for cost, pod in changed[:MOST_AT_ONCE]:
            try:
                await self._pods.annotate(pod, {COST: str(cost)})
            except PodRefused as refused:
                if refused.is_unknown:
                    self._told[pod] = cost  # gone, or no pod of ours: asking again would change nothing
                else:
                    has_failed = True
                    self._failed(refused)
                continue
            except KubernetesAway as away:
                self._failed(away)
                return told
            self._told[pod] = cost
            told += 1
        if changed and self._is_failing and not has_failed:
            log.info("pod deletion costs are told again")
            self._is_failing = False
        return told

    def _failed(self, why: KubernetesAway | PodRefused) -> None:
        if not self._is_failing:
            log.warning("pod deletion costs cannot be told; scaling down may take busy pods first", why=str(why))
        self._is_failing = True
