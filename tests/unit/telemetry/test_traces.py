"""Spans in this process: where they belong, what they tell, and that nobody pays for them who did not ask."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.settings import FleetSettings, SettingsError
from shared.telemetry.discretion import Discreet
from shared.telemetry.otel import OtelTracer
from shared.telemetry.traces import NO_SPAN, NO_TRACER, open_tracer

CARRIERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CALLS = "00-11111111111111111111111111111111-2222222222222222-01"
TEXT = "my card number is four two"


class Shop:
    """A provider whose spans are kept."""

    def __init__(self, *, tells_all: bool = False) -> None:
        self.kept = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(Discreet(self.kept, tells_all=tells_all)))
        self.tracer = OtelTracer(self.provider)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.kept.get_finished_spans()}


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.provider.shutdown()


def trace_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def parent_id(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent else ""


def test_a_request_that_comes_with_a_trace_goes_on_with_it(shop: Shop) -> None:
    span = shop.tracer.begin("request", headers={"traceparent": CARRIERS}, is_server=True)
    assert span.traceparent.split("-")[1] == CARRIERS.split("-")[1]
    span.end()
    assert parent_id(shop.spans["request"]) == CARRIERS.split("-")[2]


@pytest.mark.parametrize("nonsense", ["", "00-0-0-00", "x" * 5000, CARRIERS.replace("0af", "zzz")])
def test_a_trace_context_that_cannot_be_read_is_none(shop: Shop, nonsense: str) -> None:
    shop.tracer.begin("request", parent=nonsense).end()
    assert shop.spans["request"].parent is None


def test_a_span_joins_the_trace_that_the_call_has(shop: Shop) -> None:
    span = shop.tracer.begin("request")
    span.tell(call_id="c")
    began_ns = span._began_ns  # type: ignore[attr-defined]
    span.join(CALLS)
    span.join(CALLS)
    assert span.traceparent.split("-")[1] == CALLS.split("-")[1]
    span.past("place", 0.5, verdict="reserved")
    span.end()
    request = shop.spans["request"]
    assert (trace_id(request), parent_id(request)) == tuple(CALLS.split("-")[1:3])
    assert (dict(request.attributes or {}), request.start_time) == ({"sfvopi.call_id": "c"}, began_ns)
    assert parent_id(shop.spans["place"]) == span.traceparent.split("-")[2]
    assert len(shop.kept.get_finished_spans()) == 2


def test_the_parts_of_what_is_past_lie_within_it_however_late_they_are_told(shop: Shop) -> None:
    turn = shop.tracer.begin("session").past("turn", 0.5)
    time.sleep(0.002)
    turn.past("turn.stt", 0.5, 0.2)
    turn.past("turn.tts", 0.2)
    whole, first, last = (shop.spans[name] for name in ("turn", "turn.stt", "turn.tts"))
    assert (first.start_time, first.end_time, last.end_time) == (whole.start_time, last.start_time, whole.end_time)


def test_a_span_with_a_trace_of_its_own_is_linked_with_the_calls(shop: Shop) -> None:
    span = shop.tracer.begin("request", headers={"traceparent": CARRIERS})
    span.join("")
    span.join(CALLS)
    span.end()
    request = shop.spans["request"]
    assert trace_id(request) == CARRIERS.split("-")[1]
    assert [f"{link.context.trace_id:032x}" for link in request.links] == [CALLS.split("-")[1]]


def foreign_span(shop: Shop) -> ReadableSpan:
    """What a library may write."""
    tracer = shop.provider.get_tracer("pipecat")
    with contextlib.suppress(ValueError), tracer.start_as_current_span("llm") as span:
        span.set_attribute("input", TEXT)
        span.set_attribute("whatever.comes.next", TEXT)
        span.set_attribute("texts", [TEXT])
        span.set_attribute("gen_ai.request.model", "gpt")
        span.set_attribute("gen_ai.usage.input_tokens", 7)
        span.add_event("said", {"text": TEXT, "n": 1})
        raise ValueError(TEXT)
    return shop.spans["llm"]


def test_what_others_write_into_spans_is_no_text_but_their_numbers_and_names_stay(shop: Shop) -> None:
    span = foreign_span(shop)
    assert TEXT not in span.to_json()
    assert dict(span.attributes or {}) == {"gen_ai.request.model": "gpt", "gen_ai.usage.input_tokens": 7}
    said, raised = span.events
    assert (said.name, dict(said.attributes or {})) == ("said", {"n": 1})
    assert dict(raised.attributes or {}) == {"exception.type": "ValueError"}
    assert span.status.status_code is trace.StatusCode.ERROR


def test_texts_stay_when_they_are_asked_for() -> None:
    span = foreign_span(Shop(tells_all=True))
    assert (span.attributes or {})["input"] == (span.attributes or {})["whatever.comes.next"] == TEXT
    assert span.status.description == f"ValueError: {TEXT}"


@pytest.mark.parametrize("tells_all", [False, True])
def test_phone_numbers_and_tokens_are_masked_in_every_span(tells_all: bool) -> None:
    shop = Shop(tells_all=tells_all)
    token = "a" * 40 + "." + "b" * 22
    span = shop.tracer.begin("session")
    span.tell(number="+919876543210", url=f"wss://host/streams/{token}")
    span.event("moved", to="+919876543210")
    span.event("moved to +919876543210")
    span.end()
    told = shop.spans["session"].to_json()
    assert "+9198765432" not in told
    assert token not in told
    assert "+**********10" in told


def test_without_an_endpoint_there_are_no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shared.telemetry.otel", None)  # to import it would fail
    assert open_tracer(FleetSettings.read(), "gateway", "g") is NO_TRACER
    unwanted = FleetSettings.read(otlp_endpoint="http://collector:4318", traces_exporter="none")
    assert open_tracer(unwanted, "gateway", "g") is NO_TRACER
    assert NO_TRACER.begin("request", headers={"traceparent": CARRIERS}) is NO_SPAN
    assert NO_SPAN.change == {}


def test_who_wants_traces_and_has_not_installed_them_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules]:
        if name.startswith("opentelemetry") or name in ("shared.telemetry.otel", "shared.telemetry.discretion"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(SettingsError, match=r"pip install 'sfvopi-fleet\[traces\]'"):
        open_tracer(FleetSettings.read(otlp_endpoint="http://collector:4318"), "gateway", "g")


def test_a_gateway_without_traces_does_not_import_opentelemetry() -> None:
    look = (
        "import sys, gateway.__main__ as main, gateway.app\n"
        "from shared.settings import GatewaySettings\n"
        "from shared.registry import MemoryRegistry\n"
        "settings = GatewaySettings.read(public_wss_url='ws://localhost/ws', token_secrets='s' * 32)\n"
        "assert main.open_tracer(settings, 'gateway', 'g').close\n"
        "gateway.app.build(settings, MemoryRegistry())\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    seen = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True, timeout=60)
    assert seen.stdout.strip() == "[]", seen.stdout
