"""A session as a span: in its call's trace if the record names one, in a trace of its own if not."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.telemetry.otel import OtelTracer
from tests.unit.worker.conftest import Fleet, until

CALLS = "00-11111111111111111111111111111111-2222222222222222-01"


@pytest.fixture
def kept() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def fleet(start_worker: Callable[..., Awaitable[Fleet]], kept: InMemorySpanExporter) -> Fleet:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return await start_worker(tracer=OtelTracer(provider))


async def session_of(fleet: Fleet, kept: InMemorySpanExporter, **changes: Any) -> ReadableSpan:
    carrier = await fleet.call(**changes)
    await fleet.scripted()
    await carrier.press("3")
    assert await carrier.closed() == 1000
    await until(lambda: [span for span in kept.get_finished_spans() if span.name == "session"])
    (span,) = [span for span in kept.get_finished_spans() if span.name == "session"]
    return span


async def test_a_session_goes_on_with_the_trace_in_its_calls_record(fleet: Fleet, kept: InMemorySpanExporter) -> None:
    span = await session_of(fleet, kept, traceparent=CALLS)
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" == CALLS[3:-3]
    told = dict(span.attributes or {})
    assert (told["sfvopi.call_id"], told["sfvopi.reason"]) == ("call-1", "bot_ended")
    assert told["sfvopi.result"] == "completed"
    assert {"stream_started", "first_audio"} <= {event.name for event in span.events}
    assert "911234567890" not in span.to_json()


async def test_a_session_without_a_trace_begins_one(fleet: Fleet, kept: InMemorySpanExporter) -> None:
    span = await session_of(fleet, kept)
    assert span.parent is None


async def test_a_session_that_failed_is_an_error(fleet: Fleet, kept: InMemorySpanExporter) -> None:
    await fleet.call(bot="test:raises")
    await until(lambda: kept.get_finished_spans(), 15)  # the apology is said first
    (span,) = kept.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert dict(span.attributes or {})["error.type"] == "bot_error"
