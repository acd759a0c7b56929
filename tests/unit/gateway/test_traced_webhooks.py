"""What the webhooks of one call leave in its trace, and in its record for the worker."""

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.telemetry.otel import OtelTracer

CARRIERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def kept() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(kept: InMemorySpanExporter) -> OtelTracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return OtelTracer(provider)


def traces(kept: InMemorySpanExporter) -> dict[str, str]:
    """Of each span's name the trace it is in."""
    return {span.name: f"{span.context.trace_id:032x}" for span in kept.get_finished_spans() if span.context}


async def test_all_webhooks_of_a_call_are_in_the_trace_of_the_first(
    open_house: Callable[..., Any], kept: InMemorySpanExporter, tracer: OtelTracer
) -> None:
    house = await open_house(tracer=tracer, webhook_secrets="a-webhook-secret")
    secret = "a-webhook-secret"
    await house.post("ring", {"call_uuid": "c", "to": "+918000000001"}, secret)
    refused = await house.post("answer", {"call_uuid": "c", "to": "+918000000001"}, secret)
    assert refused.status_code == 503
    await house.start_worker()
    assert (await house.post("fallback", {"call_uuid": "c", "to": "+918000000001"}, secret)).status_code == 200
    await house.post("hangup", {"call_uuid": "c", "call_status": "COMPLETED", "duration": 3}, secret)
    seen = traces(kept)
    assert {*seen} == {
        *("POST /webhook/ring", "POST /webhook/answer", "POST /webhook/fallback", "POST /webhook/hangup", "place")
    }
    (trace_id,) = {*seen.values()}
    record = await house.registry.get("c")
    assert trace_id in record.traceparent
    told = "".join(span.to_json() for span in kept.get_finished_spans())
    assert secret not in told
    assert "+918000000001" not in told


async def test_a_trace_that_the_carrier_began_goes_on(
    open_house: Callable[..., Any], kept: InMemorySpanExporter, tracer: OtelTracer
) -> None:
    house = await open_house(tracer=tracer)
    await house.start_worker()
    fields = {"call_uuid": "c", "to": "+918000000001"}
    await house.http.post("/webhook/answer", json=fields, headers={"traceparent": CARRIERS})
    assert {*traces(kept).values()} == {CARRIERS.split("-")[1]}
    assert (await house.registry.get("c")).traceparent.split("-")[1] == CARRIERS.split("-")[1]


async def test_without_traces_a_record_has_none(house: Any) -> None:
    await house.start_worker()
    fields = {"call_uuid": "c", "to": "+918000000001"}
    await house.http.post("/webhook/answer", json=fields, headers={"traceparent": CARRIERS})
    assert (await house.registry.get("c")).traceparent == ""


async def test_a_stranger_without_the_secret_makes_no_span(
    open_house: Callable[..., Any], kept: InMemorySpanExporter, tracer: OtelTracer
) -> None:
    house = await open_house(tracer=tracer, webhook_secrets="a-webhook-secret")
    assert (await house.post("answer", {"call_uuid": "c"}, "guessed")).status_code == 404
    assert not kept.get_finished_spans()
