"""One process' metrics: the catalogue, made into objects in one Prometheus registry."""

from collections.abc import Collection, Iterator
from itertools import product
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from shared.telemetry.catalogue import BUILD, CATALOGUE, NAMED_BY_BOTS_FILE, OF_PROCESS, OTHER, Metric
from shared.version import VERSION

FEW, FEW_OF_A_BOT = 60, 4
LONGEST_EXEMPLAR = 100  # characters of a call id; the format allows 128 with its name


class Exposition(NamedTuple):
    """All metrics of a process, in the format that was asked for."""

    body: bytes
    content_type: str


class Meter:
    """Counts, sets and observes by catalogue entry. A label value outside its closed set is a programming error.

    Every label combination of a counter that has few exists from the start at 0, so that a rate over it is never
    "no data", and its first burst is an increase. `component` is gateway, worker or housekeeping; `names` are those of
    the bots file: each bot with the number groups that it answers.
    """

    def __init__(self, component: str, names: Collection[tuple[str, str]] = ()) -> None:
        self.registry = CollectorRegistry()
        self._pairs = [*names]
        self._names = {label: {pair[n] for pair in names} for n, label in enumerate(NAMED_BY_BOTS_FILE)}
        self._objects: dict[str, Counter | Gauge | Histogram] = {}
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each that nobody asks for
        ProcessCollector(registry=self.registry)
        for metric in CATALOGUE:
            if metric is not BUILD and not metric.name.startswith(OF_PROCESS):
                self._objects[metric.name] = self._make(metric)
        build = Gauge(BUILD.name, BUILD.help, ["version", "component"], registry=self.registry)
        build.labels(VERSION, component).set(1)

    def _make(self, metric: Metric) -> Counter | Gauge | Histogram:
        names = [name for name, _ in metric.labels]
        if metric.kind == "counter":
            counter = Counter(metric.name, metric.help, names, registry=self.registry)
            for labels in self._known(metric):
                counter.labels(**labels)
            return counter
        if metric.kind == "gauge":
            return Gauge(metric.name, metric.help, names, registry=self.registry)
        return Histogram(metric.name, metric.help, names, buckets=metric.buckets, registry=self.registry)

    def _known(self, metric: Metric) -> Iterator[dict[str, str]]:
        """The label combinations that exist from the start."""
        is_named = any(name in NAMED_BY_BOTS_FILE for name, _ in metric.labels)
        for pair in self._pairs if is_named else [()]:
            given = dict(zip(NAMED_BY_BOTS_FILE, pair, strict=False))
            combinations = list(product(*((given[n],) if n in given else values for n, values in metric.labels)))
            if metric.labels and len(combinations) <= (FEW_OF_A_BOT if is_named else FEW):
                for values in combinations:
                    yield {name: str(value) for (name, _), value in zip(metric.labels, values, strict=True)}

    def _at(self, metric: Metric, labels: dict[str, str]) -> Counter | Gauge | Histogram:
        found = self._objects[metric.name]
        for name, allowed in metric.labels:
            if labels[name] not in allowed and labels[name] not in self._names.get(name, ()):
                raise ValueError(f"{metric.name}: {labels[name]!r} is not a value of label {name}")
        return found.labels(**{k: str(v) for k, v in labels.items()}) if metric.labels else found

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        found = self._at(metric, labels)
        assert isinstance(found, Counter)
        found.inc(amount)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""
        found = self._at(metric, labels)
        assert isinstance(found, Gauge)
        found.set(value)

    def observe(self, metric: Metric, value: float, *, call_id: str = "", **labels: str) -> None:
        """Observe a value (seconds) in a histogram. `call_id`: whose it is, kept with its bucket as an exemplar."""
        found = self._at(metric, labels)
        assert isinstance(found, Histogram)
        found.observe(value, {"call_id": call_id} if 0 < len(call_id) <= LONGEST_EXEMPLAR else None)

    def name_of(self, label: str, name: str) -> str:
        """This name of the bots file as a label's value; "other" if the file, as we read it, does not have it."""
        return name if name in self._names.get(label, ()) else OTHER[0]

    def value(self, name: str, **labels: str) -> float:
        """The present value of a sample, 0 when there is none. For tests and health."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def render(self, accept: str = "") -> Exposition:
        """For who accepts these formats (an HTTP header). Exemplars are in OpenMetrics only."""
        encode, content_type = choose_encoder(accept)
        return Exposition(encode(self.registry), content_type)
