"""One process' metrics: the catalogue, made into objects in one Prometheus registry."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from shared.telemetry.catalogue import BUILD, CATALOGUE, Metric
from shared.version import VERSION

__all__ = ["CONTENT_TYPE_LATEST", "Meter"]


class Meter:
    """Counts, sets and observes by catalogue entry. A label value outside its closed set is a programming error.

    Every label combination of a counter with one label exists from the start at 0, so that a rate over it is
    never "no data". `component` is gateway, worker or housekeeping.
    """

    def __init__(self, component: str) -> None:
        self.registry = CollectorRegistry()
        self._objects: dict[str, Counter | Gauge | Histogram] = {}
        for metric in CATALOGUE:
            if metric is not BUILD:
                self._objects[metric.name] = self._make(metric)
        build = Gauge(BUILD.name, BUILD.help, ["version", "component"], registry=self.registry)
        build.labels(VERSION, component).set(1)

    def _make(self, metric: Metric) -> Counter | Gauge | Histogram:
        names = [name for name, _ in metric.labels]
        if metric.kind == "counter":
            counter = Counter(metric.name, metric.help, names, registry=self.registry)
            if len(metric.labels) == 1:
                for value in metric.labels[0][1]:
                    counter.labels(str(value))
            return counter
        if metric.kind == "gauge":
            return Gauge(metric.name, metric.help, names, registry=self.registry)
        return Histogram(metric.name, metric.help, names, buckets=metric.buckets, registry=self.registry)

    def _at(self, metric: Metric, labels: dict[str, str]) -> Counter | Gauge | Histogram:
        found = self._objects[metric.name]
        for name, allowed in metric.labels:
            if labels[name] not in allowed:
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

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Observe a value (seconds) in a histogram."""
        found = self._at(metric, labels)
        assert isinstance(found, Histogram)
        found.observe(value)

    def value(self, name: str, **labels: str) -> float:
        """The present value of a sample, 0 when there is none. For tests and health."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def render(self) -> bytes:
        """The exposition, in `CONTENT_TYPE_LATEST`."""
        return generate_latest(self.registry)
