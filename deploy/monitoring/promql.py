"""PromQL over the catalogue: a metric, a label or a value that does not exist is an error here, not an empty panel."""

from dataclasses import dataclass

from shared.telemetry.catalogue import CATALOGUE, NAMED_BY_BOTS_FILE, Metric

PER_SCRAPE = "$__rate_interval"  # Grafana's: four scrapes, or the width of a point
OF_TARGET = ("component", "process", "instance", "job")  # labels that service discovery adds
FROM_GRAFANA = "$"  # a value that begins so is a variable of the dashboard


@dataclass(frozen=True, slots=True)
class Clock:
    """How durations are written. `scale` shortens all of them by one factor, so that alerts can be seen to fire."""

    scale: float = 1.0

    def seconds(self, seconds: float) -> float:
        return seconds / self.scale

    def __call__(self, seconds: float) -> str:
        milliseconds = max(1000, round(seconds * 1000 / self.scale))
        for unit, size in (("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
            if milliseconds % size == 0:
                return f"{milliseconds // size}{unit}"
        return f"{milliseconds}ms"


def series(metric: Metric, suffix: str = "", /, **match: str) -> str:
    """The series of a metric; `le` as it stands, `a="x|y"` is either."""
    if metric not in CATALOGUE:
        raise ValueError(f"{metric.name} is not in the catalogue")
    if not match:
        return f"{metric.name}{suffix}"
    labels = dict(metric.labels)
    for label, value in match.items():
        if label not in labels and label not in OF_TARGET and label != "le":
            raise ValueError(f"{metric.name} has no label {label}")
        known = label in labels and label not in NAMED_BY_BOTS_FILE and not value.startswith(FROM_GRAFANA)
        if known and not set(value.split("|")) <= {str(each) for each in labels[label]}:
            raise ValueError(f"{metric.name}: {value!r} is not a value of {label}")
    matchers = ",".join(
        f'{label}=~"{value}"' if "|" in value or value.startswith(FROM_GRAFANA) else f'{label}="{value}"'
        for label, value in match.items()
    )
    return f"{metric.name}{suffix}{{{matchers}}}"


def total(expression: str, *by: str) -> str:
    """The sum, for each of these labels."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def rate(metric: Metric, window: str = PER_SCRAPE, suffix: str = "", /, **match: str) -> str:
    """Per second."""
    return f"rate({series(metric, suffix, **match)}[{window}])"


def increase(metric: Metric, window: str, suffix: str = "", /, *, offset: str = "", **match: str) -> str:
    """By how much a counter grew within the window, which may have ended a while ago."""
    return f"increase({series(metric, suffix, **match)}[{window}]{f' offset {offset}' if offset else ''})"


def quantile(q: float, metric: Metric, window: str = PER_SCRAPE, /, *by: str, **match: str) -> str:
    """Of a histogram."""
    return f"histogram_quantile({q:g}, {total(rate(metric, window, '_bucket', **match), 'le', *by)})"


def mean(metric: Metric, window: str = PER_SCRAPE, /, *by: str, **match: str) -> str:
    """Of a histogram."""
    sums, counts = rate(metric, window, "_sum", **match), rate(metric, window, "_count", **match)
    return f"{total(sums, *by)} / {total(counts, *by)}"


def a_minute(metric: Metric, *by: str, **match: str) -> str:
    """How often, for a panel; for each of these labels."""
    return f"60 * {total(rate(metric, PER_SCRAPE, **match), *by)}"


def or_zero(expression: str) -> str:
    """Zero where nothing is counted yet."""
    return f"({expression} or vector(0))"
