"""An OpenTelemetry collector at the wire: takes OTLP over HTTP and keeps the spans.

async with FakeCollector() as collector: … collector.env, collector.named("session")
"""

import gzip
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class SpanSeen(NamedTuple):
    """A span, as it was sent."""

    service: str
    scope: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    status: int
    began_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    links: list[str]


class FakeCollector:
    """Whatever it was sent, in `spans`; the headers of the last request in `headers`."""

    def __init__(self) -> None:
        self.spans: list[SpanSeen] = []
        self.texts = ""  # all that was sent, for a look at what should not be in it
        self.headers: dict[str, str] = {}
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def env(self) -> dict[str, str]:
        """Variables with which a process sends its spans here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}", "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def named(self, name: str, scope: str = "sfvopi") -> list[SpanSeen]:
        return [span for span in self.spans if (span.name, span.scope) == (name, scope)]

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        sent = gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body
        told = ExportTraceServiceRequest.FromString(sent)
        self.headers = dict(request.headers)
        self.texts += str(told)
        for resource in told.resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_seen(service, scope.scope.name, span) for span in scope.spans]
        return web.Response(body=b"", content_type="application/x-protobuf")

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._runner is not None
        await self._runner.cleanup()


def _seen(service: str, scope: str, span: Any) -> SpanSeen:
    return SpanSeen(
        service,
        scope,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.status.code,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
        [(event.name, _attributes(event.attributes)) for event in span.events],
        [link.trace_id.hex() for link in span.links],
    )


def _attributes(given: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in given}
