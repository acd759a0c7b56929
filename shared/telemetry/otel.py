"""Spans by OpenTelemetry's SDK, sent in batches by a thread of its own; imported only when traces are on.

The provider is the process' global one: spans of Pipecat and of bots go the same way as ours. What the SDK reads from
the environment (OTEL_TRACES_SAMPLER, OTEL_BSP_…, OTEL_RESOURCE_ATTRIBUTES …) is the SDK's own business.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Mapping

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.re import parse_env_headers

from shared.settings import FleetSettings
from shared.telemetry.discretion import OURS, Discreet
from shared.telemetry.traces import Span, Tracer, Value
from shared.version import VERSION

CLOSE_WITHIN_S = 3.0  # a collector that is away keeps no process from leaving
W3C = TraceContextTextMapPropagator()


class OtelSpan(Span):
    """A span that is recorded, or not, as the sampler will have it."""

    def __init__(
        self,
        tracer: trace.Tracer,
        name: str,
        above: contexts.Context,
        kind: trace.SpanKind = trace.SpanKind.INTERNAL,
        began_ns: int | None = None,
    ) -> None:
        self._tracer, self._name, self._kind = tracer, name, kind
        self._began_ns = began_ns or time.time_ns()
        self._seen_at_ns: int | None = None  # of one that was past already when it was told of
        self._is_below = _span_of(above).is_valid
        self._told: dict[str, Value] = {}
        self._span = tracer.start_span(name, above, kind, start_time=self._began_ns)

    @property
    def traceparent(self) -> str:
        carrier: dict[str, str] = {}
        W3C.inject(carrier, trace.set_span_in_context(self._span, contexts.Context()))
        return carrier.get("traceparent", "")

    def tell(self, **attributes: Value) -> None:
        named = _named(attributes)
        self._told |= named
        self._span.set_attributes(named)

    def event(self, name: str, **attributes: Value) -> None:
        self._span.add_event(name, _named(attributes))

    def join(self, traceparent: str) -> None:
        above = _context_of({"traceparent": traceparent})
        theirs = _span_of(above)
        if not theirs.is_valid or theirs.trace_id == self._span.get_span_context().trace_id:
            return
        if self._is_below:
            self._span.add_link(theirs)
        else:  # made again where it belongs: the first one is never ended, so nobody hears of it
            self._is_below = True
            self._span = self._tracer.start_span(self._name, above, self._kind, self._told, start_time=self._began_ns)

    def past(self, name: str, began_s: float, ended_s: float = 0.0, **attributes: Value) -> Span:
        now_ns = self._seen_at_ns or time.time_ns()
        above = trace.set_span_in_context(self._span, contexts.Context())
        span = OtelSpan(self._tracer, name, above, began_ns=now_ns - round(began_s * 1e9))
        span._seen_at_ns = now_ns
        span.tell(**attributes)
        span._span.end(now_ns - round(ended_s * 1e9))
        return span

    def enter(self) -> None:
        contexts.attach(trace.set_span_in_context(self._span))

    def end(self, fault: str = "") -> None:
        if fault:
            self._span.set_attribute("error.type", fault)
            self._span.set_status(trace.Status(trace.StatusCode.ERROR))
        self._span.end()


class OtelTracer(Tracer):
    """Makes spans of this provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(OURS, VERSION)

    def begin(
        self,
        name: str,
        *,
        parent: str = "",
        headers: Mapping[str, str] | None = None,
        is_server: bool = False,
    ) -> Span:
        above = _context_of({"traceparent": parent} if headers is None else headers)
        return OtelSpan(self._tracer, name, above, trace.SpanKind.SERVER if is_server else trace.SpanKind.INTERNAL)

    async def close(self) -> None:
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # nobody has waited for us: the loop is gone
                loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=close, name="traces:close", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(closed.wait(), CLOSE_WITHIN_S)


def open_otel(settings: FleetSettings, component: str, process_id: str) -> OtelTracer:
    """The tracer of a process, whose spans go to the collector that the settings name."""
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)  # some lines a batch; `Discreet` has one
    headers = settings.otlp_traces_headers if settings.otlp_traces_headers.get_secret_value() else settings.otlp_headers
    exporter = OTLPSpanExporter(
        endpoint=settings.otlp_traces_endpoint or f"{settings.otlp_endpoint.rstrip('/')}/v1/traces",
        headers=parse_env_headers(headers.get_secret_value(), liberal=True),
    )
    ours = {"service.name": f"sfvopi-{component}", "service.version": VERSION, "service.instance.id": process_id}
    given = OTELResourceDetector().detect()  # OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
    provider = TracerProvider(resource=Resource.create(ours).merge(given), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Discreet(exporter, tells_all=settings.transcripts)))
    trace.set_tracer_provider(provider)
    return OtelTracer(provider)


def _context_of(headers: Mapping[str, str]) -> contexts.Context:
    return W3C.extract(headers, contexts.Context())


def _span_of(context: contexts.Context) -> trace.SpanContext:
    return trace.get_current_span(context).get_span_context()


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    return {
        name if "." in name else f"sfvopi.{name}": str(value) if isinstance(value, str) else value
        for name, value in attributes.items()
    }
