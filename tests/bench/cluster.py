"""Kubernetes, as far as calls notice it: how many pods an HPA wants, and which one a ReplicaSet takes away.

Written after the documented algorithms, and driven by the manifests that are shipped: no cluster was to be had.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.fleet.worker import WorkerState

SYNC_S = 15  # between looks of the HPA
TOLERANCE = 0.1  # a ratio so near to 1 changes nothing


@dataclass(eq=False)
class Pod:
    """A worker's pod. `calls`: call_id → when it ends (s)."""

    name: str
    ready_at: float
    state: WorkerState = WorkerState.STARTING
    calls: dict[str, float] = field(default_factory=dict)
    cost: int = 0
    drained_at: float = 0.0
    had_calls: int = 0  # when it was told to leave


def whom_to_take(pods: Sequence[Pod], count: int) -> list[Pod]:
    """The pods that a ReplicaSet deletes: not ready ones, then the lowest deletion cost, then the newest."""
    return sorted(pods, key=lambda p: (p.state is WorkerState.SERVING, p.cost, -p.ready_at, p.name))[:count]


class Autoscaler:
    """An HPA with one external metric of type AverageValue, as its manifest says. Times in seconds."""

    def __init__(self, hpa: dict[str, Any]) -> None:
        spec = hpa["spec"]
        self.target = float(spec["metrics"][0]["external"]["target"]["averageValue"])
        self.least, self.most = int(spec["minReplicas"]), int(spec["maxReplicas"])
        self._up, self._down = spec["behavior"]["scaleUp"], spec["behavior"]["scaleDown"]
        self._wanted: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()  # when, by how many

    def wants(self, metric: float | None, replicas: int, now: float) -> int:
        """How many replicas there should be; as many as there are while the metric is not known."""
        if metric is None:
            return replicas
        ratio = metric / (self.target * replicas)
        raw = replicas if abs(1 - ratio) <= TOLERANCE else math.ceil(metric / self.target)
        raw = min(self.most, max(self.least, raw))
        window = self._down["stabilizationWindowSeconds"]
        self._wanted.append((now, raw))
        while self._wanted[0][0] <= now - window:
            self._wanted.popleft()
        if raw < replicas:
            raw = min(replicas, max(wanted for _, wanted in self._wanted))
        wanted = self._limited(raw, replicas, now)
        if wanted != replicas:
            self._changes.append((now, wanted - replicas))
        return wanted

    def _limited(self, raw: int, replicas: int, now: float) -> int:
        if raw > replicas:
            return min(raw, max(self._most_up(policy, replicas, now) for policy in self._up["policies"]))
        if raw < replicas:
            return max(raw, min(self._least_down(policy, replicas, now) for policy in self._down["policies"]))
        return raw

    def _most_up(self, policy: dict[str, Any], replicas: int, now: float) -> int:
        start = replicas - sum(by for at, by in self._changes if by > 0 and at > now - policy["periodSeconds"])
        value = policy["value"]
        return start + value if policy["type"] == "Pods" else math.ceil(start * (1 + value / 100))

    def _least_down(self, policy: dict[str, Any], replicas: int, now: float) -> int:
        start = replicas - sum(by for at, by in self._changes if by < 0 and at > now - policy["periodSeconds"])
        value = policy["value"]
        return start - value if policy["type"] == "Pods" else int(start * (1 - value / 100))
