"""What a span may say when it leaves the process: Pipecat writes all that is said into its spans.

Of spans that are not ours the numbers pass, and those texts that are named here; the rest only when transcripts are
on. A list of what is allowed, not of what is known to be text: the next version of a library may write more. Runs in
the exporting thread.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Status

from shared.telemetry.logs import get_logger, redact

OURS = "sfvopi"  # the name of our tracer
TEXTLESS = frozenset(
    {
        *("conversation.id", "conversation.type", "turn.type", "service.operation"),
        *("gen_ai.provider.name", "gen_ai.request.model", "gen_ai.operation.name", "gen_ai.output.type"),
        *("settings.model", "settings.voice", "settings.language", "voice_id", "language", "modalities"),
        *("error.type", "exception.type"),
    }
)


class Discreet(SpanExporter):
    """Gives spans to another exporter, without what they should not tell; says once when that one fails."""

    def __init__(self, exporter: SpanExporter, *, tells_all: bool = False) -> None:
        self._exporter = exporter
        self._tells_all = tells_all
        self._is_away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export([self._told(span) for span in spans])
        is_away = result is not SpanExportResult.SUCCESS
        if is_away and not self._is_away:
            get_logger(__name__).warning("traces are not taken, and are lost. Is it OTLP over HTTP (port 4318)?")
        elif self._is_away and not is_away:
            get_logger(__name__).info("traces are taken again")
        self._is_away = is_away
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def _told(self, span: ReadableSpan) -> ReadableSpan:
        scope = span.instrumentation_scope
        everything = self._tells_all or (scope is not None and scope.name == OURS)
        return ReadableSpan(
            name=redact(span.name),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=told(span.attributes, everything),
            events=[
                Event(redact(event.name), told(event.attributes, everything), event.timestamp) for event in span.events
            ],
            links=[Link(link.context, told(link.attributes, everything)) for link in span.links],
            kind=span.kind,
            status=Status(span.status.status_code, redact(span.status.description or "") if everything else None),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=scope,
        )


def told(attributes: Mapping[str, Any] | None, everything: bool) -> dict[str, Any]:
    """Those of the attributes that may be told, without phone numbers, tokens and secrets."""
    return {
        name: _masked(value)
        for name, value in (attributes or {}).items()
        if everything or name in TEXTLESS or _is_number(value)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [_masked(item) for item in value]
    return value
