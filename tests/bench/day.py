"""A day's traffic over an autoscaled fleet: are callers refused, are calls cut, and what does Redis do?

    python -m tests.bench.day [--peak 10000] [--hours 2] [--json]

Simulated: the callers, the clock, the workers' insides and Kubernetes (`cluster.py`). Real: the registry with its Lua
files on a Redis of its own, which is told the simulated time; the figure that the gateway gives autoscalers; the
deletion costs that housekeeping tells; target, limits and behaviour from deploy/k8s. A day is squeezed into `--hours`,
so its rises are steeper than a real one's; calls are longer than most, so that the run lasts minutes.
"""

import argparse
import asyncio
import heapq
import itertools
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gateway.api import demand_of
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.registry import RedisRegistry
from tests.bench.cluster import SYNC_S, Autoscaler, Pod, whom_to_take
from tests.redis_server import RedisServer
from worker.housekeeping.pod_costs import COST, PodCosts

K8S = Path(__file__).resolve().parents[2] / "deploy" / "k8s"
BEGAN_MS = 1_800_000_000_000
STEP_S = 5
BEAT_S, LEASE_S = 60, 190  # in the simulation: a second and five would be a million heartbeats more
ATTACH_BY_S, LONGEST_S = 60, 3600
COSTS_S = 10
NEVER_COMES = 0.01  # of answered calls
AT_ONCE = 64


@dataclass(frozen=True)
class Plan:
    """What is played. Seconds, calls."""

    peak: int = 10_000
    hours: float = 2.0
    mean_call_s: float = 480.0
    start_s: float = 60.0  # from a pod's creation to its first call
    capacity: int = 24
    has_costs: bool = True
    seed: int = 1

    @property
    def day_s(self) -> float:
        return self.hours * 3600

    def calls_at(self, at: float) -> float:
        """How many want to talk at once: night, morning, a dip at noon, afternoon, evening; 1 for the peak."""
        points = ((0, 0.05), (6, 0.06), (10, 0.9), (13, 0.75), (16, 1.0), (19, 0.6), (22, 0.15), (24, 0.05))
        hour = at / self.day_s * 24
        for (left, low), (right, high) in itertools.pairwise(points):
            if hour <= right:
                share = (1 - math.cos(math.pi * (hour - left) / (right - left))) / 2
                return self.peak * (low + (high - low) * share)
        return 0.0

    def rate_at(self, at: float) -> float:
        """New calls a second. In one minute of the afternoon, half as many again: somebody's advertisement."""
        burst = 1.5 if 0.66 * self.day_s <= at < 0.66 * self.day_s + 60 else 1.0
        return burst * self.calls_at(at) / self.mean_call_s


@dataclass
class Told:
    """What came of it."""

    calls: int = 0
    refused: int = 0
    never_came: int = 0
    moved_before_start: int = 0  # their worker was leaving by the time their stream came
    lost_before_start: int = 0
    cut_by_scale_down: int = 0
    over_admitted: int = 0
    peak_calls: int = 0
    peak_serving: int = 0
    peak_pods: int = 0
    serving_at_night: int = 0
    pod_hours: float = 0.0
    needed_pod_hours: float = 0.0  # had every pod always its target
    drains: int = 0
    calls_at_drain_mean: float = 0.0
    drain_s_p50: float = 0.0
    drain_s_p95: float = 0.0
    drain_s_max: float = 0.0
    cost_patches: int = 0
    cost_patches_most_a_minute: int = 0
    redis_scripts: int = 0
    redis_cpu_s: float = 0.0
    redis_mb_at_peak: float = 0.0
    redis_us: dict[str, float] = field(default_factory=dict)  # at the peak, per script
    took_s: float = 0.0


class Day:
    """One run. Pods tell their deletion costs to themselves."""

    def __init__(self, plan: Plan, url: str) -> None:
        self.plan, self.told, self.now = plan, Told(), 0.0
        self.registry = RedisRegistry.connect(
            url, clock=lambda: BEGAN_MS + round(self.now * 1000), command_timeout_s=30, connect_timeout_s=5, wait_s=60
        )
        self._random = random.Random(plan.seed)
        self._scaler = Autoscaler(yaml.safe_load((K8S / "components" / "hpa" / "hpa.yaml").read_text()))
        self._costs = PodCosts(self)
        self._pods: dict[str, Pod] = {}
        self._ends: list[tuple[float, str, Pod]] = []
        self._attaching: list[tuple[str, Pod]] = []
        self._drains: list[tuple[float, int]] = []
        self._patches: dict[int, int] = {}
        self._made = 0
        self._is_probed = False

    async def annotate(self, pod: str, annotations: Mapping[str, str]) -> None:
        """As the API server does it."""
        self._pods[pod].cost = int(annotations[COST])
        minute = int(self.now // 60)
        self._patches[minute] = self._patches.get(minute, 0) + 1

    async def play(self) -> Told:
        began = time.monotonic()
        self._scale_to(max(self._scaler.least, math.ceil(self.plan.calls_at(0) / self._scaler.target)), is_ready=True)
        await self._beat(self._pods.values())
        while self.now < self.plan.day_s:
            self.now += STEP_S
            await self._end_calls()
            await self._change_pods()
            await self._attach()
            await self._beat(self._whose_turn())
            await self._place()
            if self._step % (SYNC_S // STEP_S) == 0:
                await self._autoscale()
            if self.plan.has_costs and self._step % (COSTS_S // STEP_S) == 0:
                await self._costs.tell(await self.registry.workers(), self.registry.now_ms())
            self._sample()
            if not self._is_probed and self.now >= 16 / 24 * self.plan.day_s:
                await self._probe()
        self._sum_up(await self._redis("commandstats"), time.monotonic() - began)
        return self.told

    @property
    def _step(self) -> int:
        return round(self.now / STEP_S)

    def _living(self, *states: WorkerState) -> list[Pod]:
        return [pod for pod in self._pods.values() if pod.state in states]

    def _whose_turn(self) -> list[Pod]:
        """A part of the pods, so that each beats every `BEAT_S`."""
        turns = BEAT_S // STEP_S
        return [pod for number, pod in enumerate(self._pods.values()) if number % turns == self._step % turns]

    # -- calls

    async def _end_calls(self) -> None:
        over: list[str] = []
        while self._ends and self._ends[0][0] <= self.now:
            _, call_id, pod = heapq.heappop(self._ends)
            if pod.calls.pop(call_id, None) is not None:
                over.append(call_id)
        await _all(self.registry.release, over)

    async def _place(self) -> None:
        count = _poisson(self._random, self.plan.rate_at(self.now) * STEP_S)
        names = [f"c{self.told.calls + n}" for n in range(count)]
        self.told.calls += count

        async def place(call_id: str) -> None:
            held = await self.registry.reserve(call_id, ATTACH_BY_S * 1000, in_turn=True)
            if held is None:
                self.told.refused += 1
            elif self._random.random() < NEVER_COMES:
                self.told.never_came += 1
            else:
                self._attaching.append((call_id, self._pods[held.worker_id]))

        await _all(place, names)

    async def _attach(self) -> None:
        """Streams of the calls that were placed a step ago. A worker that leaves takes none: the next one does."""
        coming, self._attaching = self._attaching, []

        async def attach(one: tuple[str, Pod]) -> None:
            call_id, pod = one
            if pod.state is WorkerState.SERVING and await self.registry.occupy(call_id, pod.name, LEASE_S * 1000):
                return self._begin(call_id, pod)
            held = await self.registry.reserve(call_id, ATTACH_BY_S * 1000, [pod.name])
            other = held and self._pods[held.worker_id]
            if other and await self.registry.occupy(call_id, other.name, LEASE_S * 1000):
                self.told.moved_before_start += 1
                return self._begin(call_id, other)
            self.told.lost_before_start += 1
            return None

        await _all(attach, coming)

    def _begin(self, call_id: str, pod: Pod) -> None:
        ends_at = self.now + min(LONGEST_S, max(5.0, self._random.expovariate(1 / self.plan.mean_call_s)))
        pod.calls[call_id] = ends_at
        self.told.over_admitted += len(pod.calls) > self.plan.capacity
        heapq.heappush(self._ends, (ends_at, call_id, pod))

    # -- pods

    async def _beat(self, pods: Iterable[Pod]) -> None:
        async def beat(pod: Pod) -> None:
            record = WorkerRecord(pod.name, "10.0.0.1:9100", pod.state, self.plan.capacity)
            await self.registry.heartbeat(record, list(pod.calls), LEASE_S * 1000)

        await _all(beat, [pod for pod in pods if pod.state is not WorkerState.STARTING])

    def _scale_to(self, replicas: int, is_ready: bool = False) -> list[Pod]:
        """As a ReplicaSet: make pods, or tell some to leave; returns those."""
        counted = self._living(WorkerState.STARTING, WorkerState.SERVING)
        for _ in range(replicas - len(counted)):
            self._made += 1
            state = WorkerState.SERVING if is_ready else WorkerState.STARTING
            pod = Pod(f"worker-{self._made:05}", self.now + (0 if is_ready else self.plan.start_s), state)
            self._pods[pod.name] = pod
        leaving = whom_to_take(counted, len(counted) - replicas) if replicas < len(counted) else []
        for pod in leaving:
            pod.state, pod.drained_at, pod.had_calls = WorkerState.DRAINING, self.now, len(pod.calls)
        return leaving

    async def _autoscale(self) -> None:
        demand = demand_of(await self.registry.workers(), self.registry.now_ms(), 0)
        replicas = len(self._living(WorkerState.STARTING, WorkerState.SERVING))
        await self._beat(self._scale_to(self._scaler.wants(demand, replicas, self.now)))

    async def _change_pods(self) -> None:
        started = [pod for pod in self._living(WorkerState.STARTING) if pod.ready_at <= self.now]
        for pod in started:
            pod.state = WorkerState.SERVING
        await self._beat(started)
        for pod in self._living(WorkerState.DRAINING):
            if pod.calls and self.now - pod.drained_at >= LONGEST_S:
                self.told.cut_by_scale_down += len(pod.calls)
                pod.calls.clear()
            if not pod.calls:
                self._drains.append((self.now - pod.drained_at, pod.had_calls))
                del self._pods[pod.name]
                await self.registry.remove_worker(pod.name)

    # -- what is told

    def _sample(self) -> None:
        told, talking = self.told, sum(len(pod.calls) for pod in self._pods.values())
        serving = len(self._living(WorkerState.SERVING))
        told.peak_calls, told.peak_serving = max(told.peak_calls, talking), max(told.peak_serving, serving)
        told.peak_pods = max(told.peak_pods, len(self._pods))
        told.pod_hours += len(self._pods) * STEP_S / 3600
        told.needed_pod_hours += max(self._scaler.least, talking / self._scaler.target) * STEP_S / 3600
        told.serving_at_night = serving

    async def _probe(self) -> None:
        """What each script takes of Redis' one thread with the fleet at its largest, and what its keys weigh."""
        self._is_probed = True
        self.told.redis_mb_at_peak = round((await self._redis("memory"))["used_memory"] / 1e6, 2)
        before = await self._redis("commandstats")
        pods = self._living(WorkerState.SERVING)
        ids = [f"probe-{n}" for n in range(100)]
        asked: dict[str, list[Callable[[], Awaitable[Any]]]] = {
            "reserve": [lambda c=c: self.registry.reserve(c, 60_000, in_turn=True) for c in ids],  # type: ignore[misc]
            "release": [lambda c=c: self.registry.release(c) for c in ids],  # type: ignore[misc]
            "heartbeat": [lambda p=p: self._beat([p]) for p in pods[:100]],  # type: ignore[misc]
            "workers": [self.registry.workers] * 20,
        }
        for name, questions in asked.items():
            start = await self._redis("commandstats")
            for ask in questions:
                await ask()
            end = await self._redis("commandstats")
            spent = end["cmdstat_evalsha"]["usec"] - start["cmdstat_evalsha"]["usec"]
            self.told.redis_us[name] = round(spent / len(questions), 1)
        after = await self._redis("commandstats")
        # the probe's own are no part of the day
        self.told.redis_scripts = before["cmdstat_evalsha"]["calls"] - after["cmdstat_evalsha"]["calls"]
        self.told.redis_cpu_s = before["cmdstat_evalsha"]["usec"] - after["cmdstat_evalsha"]["usec"]

    async def _redis(self, section: str) -> dict[str, Any]:
        return dict(await self.registry._redis.info(section))

    def _sum_up(self, stats: dict[str, Any], took_s: float) -> None:
        told, lasted = self.told, [lasted for lasted, _ in self._drains] or [0.0]
        told.drains = len(self._drains)
        told.calls_at_drain_mean = round(statistics.mean([had for _, had in self._drains] or [0]), 1)
        told.drain_s_p50, told.drain_s_max = statistics.median(lasted), max(lasted)
        told.drain_s_p95 = sorted(lasted)[int(0.95 * (len(lasted) - 1))]
        told.cost_patches = sum(self._patches.values())
        told.cost_patches_most_a_minute = max(self._patches.values(), default=0)
        told.redis_scripts += stats["cmdstat_evalsha"]["calls"]
        told.redis_cpu_s = round((told.redis_cpu_s + stats["cmdstat_evalsha"]["usec"]) / 1e6, 1)
        told.pod_hours, told.needed_pod_hours = round(told.pod_hours, 1), round(told.needed_pod_hours, 1)
        told.took_s = round(took_s, 1)


async def _all(do: Callable[[Any], Awaitable[None]], whom: Iterable[Any]) -> None:
    waiting = list(whom)
    for first in range(0, len(waiting), AT_ONCE):
        await asyncio.gather(*(do(one) for one in waiting[first : first + AT_ONCE]))


def _poisson(source: random.Random, mean: float) -> int:
    """How many arrive where `mean` do on average."""
    if mean > 50:
        return max(0, round(source.gauss(mean, math.sqrt(mean))))
    left, count = math.exp(-mean), -1
    product = 1.0
    while product > left:
        product *= source.random()
        count += 1
    return count


async def play(plan: Plan) -> Told:
    """One day on a Redis of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        server.start()
        day = Day(plan, server.unix_url)
        try:
            return await day.play()
        finally:
            await day.registry.close()
            server.stop()


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.bench.day", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peak", type=int, default=Plan.peak, help="calls at once at the day's peak")
    parser.add_argument(
        "--hours", type=float, default=Plan.hours, help="simulated hours into which the day is squeezed"
    )
    parser.add_argument("--mean-call", type=float, default=Plan.mean_call_s, help="mean length of a call, in seconds")
    parser.add_argument("--start", type=float, default=Plan.start_s, help="from a pod's creation to its first call, s")
    parser.add_argument("--no-costs", action="store_true", help="without pod deletion costs")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    plan = Plan(given.peak, given.hours, given.mean_call, given.start, has_costs=not given.no_costs, seed=given.seed)
    told = asyncio.run(play(plan))
    if given.json:
        print(json.dumps({"plan": asdict(plan), "told": asdict(told)}))
        return
    for name, value in asdict(told).items():
        print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
