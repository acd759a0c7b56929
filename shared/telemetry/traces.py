"""Traces: where the time of one call goes, from the webhook to its last turn, over the processes that it passes.

Off, as they are by default, every span is `NO_SPAN` and OpenTelemetry is not imported; on, `otel.py` makes real ones.
Nothing here waits or raises: a call never notices who looks on.
"""

from collections.abc import Mapping

from shared.settings import FleetSettings, SettingsError

Value = str | bool | int | float


class Span:
    """A span that nobody records. A name of an attribute or event without a dot is ours: it becomes `sfvopi.name`."""

    @property
    def traceparent(self) -> str:
        """The span as W3C's trace context writes it, for whoever goes on with the trace; empty if there is none."""
        return ""

    @property
    def change(self) -> dict[str, str]:
        """The same as a change of a call's record."""
        return {"traceparent": self.traceparent} if self.traceparent else {}

    def tell(self, **attributes: Value) -> None:
        """Attributes. Numbers and tokens in them are masked; what was said does not belong here."""

    def event(self, name: str, **attributes: Value) -> None:
        """Something that has happened now."""

    def join(self, traceparent: str) -> None:
        """The call has this trace already: the span goes there, or is linked with it if it came with one of its own."""

    def past(self, name: str, began_s: float, ended_s: float = 0.0, **attributes: Value) -> "Span":
        """A span below this one that began so many seconds ago, and ended so many seconds ago.

        Below one that is past itself, "ago" is as seen then: what lies within it by its seconds lies within it.
        """
        return self

    def enter(self) -> None:
        """Spans that this task, or one started by it, makes of its own accord are below this one from here on."""

    def end(self, fault: str = "") -> None:
        """Once. `fault` is one of a closed set, no text."""


NO_SPAN = Span()


class Tracer:
    """Makes no spans."""

    def begin(
        self,
        name: str,
        *,
        parent: str = "",
        headers: Mapping[str, str] | None = None,
        is_server: bool = False,
    ) -> Span:
        """A span that begins now, below `parent` (a traceparent) or what the headers of a request name, or below none.

        What cannot be read counts as none.
        """
        return NO_SPAN

    async def close(self) -> None:
        """Send what waits, for a moment at most."""


NO_TRACER = Tracer()


def open_tracer(settings: FleetSettings, component: str, process_id: str) -> Tracer:
    """The process' tracer. Raises `SettingsError` when traces are wanted and cannot be made."""
    if not settings.is_traced:
        return NO_TRACER
    try:
        from shared.telemetry.otel import open_otel
    except ImportError:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, and OpenTelemetry is not installed: "
            "pip install 'sfvopi-fleet[traces]', or set OTEL_TRACES_EXPORTER=none"
        ) from None
    return open_otel(settings, component, process_id)
