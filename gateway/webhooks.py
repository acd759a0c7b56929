"""The four webhooks of the carrier, over HTTP: answer, fallback, hangup, ring; POST and GET.

With webhook secrets set, only `/webhook/<secret>/…` exists. Whatever is asked, the answer comes soon and is JSON.
"""

import asyncio
import hmac
import time
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.admission import Admission, Admitted, Verdict, parties
from gateway.fields import read_fields
from gateway.hangups import Hangups, call_id_of
from gateway.notebook import Notebook
from shared.calls.state import CallEvent
from shared.calls.timeline import TimelineEvent
from shared.registry import Registry, RegistryAway
from shared.sfvopi.answer import StreamAnswer
from shared.sfvopi.errors import WebhookRejected
from shared.sfvopi.webhooks import AnswerWebhook, parse_answer, parse_hangup, parse_ring
from shared.telemetry.catalogue import ADMISSIONS, ANSWER_SECONDS, REGISTRY_ERRORS, WEBHOOK_SECONDS, WEBHOOKS
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from shared.telemetry.traces import Span, Tracer

RETRY_AFTER = {"Retry-After": "1"}

# verdict → value of the metric's `result` label, HTTP status (None: the Stream JSON), message
_RESULTS: dict[Verdict, str] = {
    Verdict.RESERVED: "accepted",
    Verdict.PLACED_LOCALLY: "accepted",
    Verdict.REPEATED: "duplicate",
    Verdict.HELD: "accepted",
    Verdict.BUSY_MESSAGE: "refused",
    Verdict.REDIRECTED: "refused",
    Verdict.REFUSED: "refused",
    Verdict.ENDED: "refused",
    Verdict.REGISTRY_AWAY: "error",
}
_REFUSALS: dict[Verdict, tuple[int, str]] = {
    Verdict.REFUSED: (503, "no worker can take the call now; ask the fallback"),
    Verdict.REGISTRY_AWAY: (503, "calls cannot be placed now; ask the fallback"),
    Verdict.ENDED: (410, "this call is over already"),
}


class Webhooks:
    """The routes under `/webhook`."""

    def __init__(
        self,
        admission: Admission,
        hangups: Hangups,
        registry: Registry,
        notebook: Notebook,
        meter: Meter,
        tracer: Tracer,
        secrets: Sequence[str],
    ) -> None:
        self._admission = admission
        self._hangups = hangups
        self._registry = registry
        self._notebook = notebook
        self._meter = meter
        self._tracer = tracer
        self._secrets = [secret.encode() for secret in secrets]
        self._log = get_logger(__name__)

    def routes(self) -> list[BaseRoute]:
        path = "/webhook/{secret}/{name}" if self._secrets else "/webhook/{name}"
        return [Route(path, self.take, methods=["GET", "POST"])]

    async def take(self, request: Request) -> Response:
        """One webhook, from request to response; measured, and never an exception."""
        name = request.path_params["name"]
        if name not in WEBHOOKS or not self._knows(request.path_params.get("secret", "")):
            return PlainTextResponse("Not Found", 404)
        if request.method == "HEAD":
            return PlainTextResponse("Method Not Allowed", 405)
        began = time.perf_counter()
        span = self._span_of(name, request)
        result, response = await self._guarded(name, request, span)
        self._meter.observe(WEBHOOK_SECONDS, time.perf_counter() - began, webhook=name, result=result)
        span.tell(result=result, **{"http.response.status_code": response.status_code})
        span.end(str(response.status_code) if response.status_code >= 500 else "")
        return response

    def _span_of(self, name: str, request: Request) -> Span:
        """The request as a span. A webhook's secret is not in its route."""
        route = f"/webhook/{name}"
        span = self._tracer.begin(f"{request.method} {route}", headers=request.headers, is_server=True)
        span.tell(**{"http.request.method": request.method, "http.route": route, "url.scheme": request.scope["scheme"]})
        return span

    def _knows(self, secret: str) -> bool:
        """All secrets are compared, whichever matches: the time taken says nothing."""
        if not self._secrets:
            return True
        matches = [hmac.compare_digest(secret.encode(), known) for known in self._secrets]
        return any(matches)

    async def _guarded(self, name: str, request: Request, span: Span) -> tuple[str, Response]:
        try:
            fields = await read_fields(request)
            match name:
                case "answer" | "fallback":
                    return await self._answer(name, parse_answer(fields), span)
                case "hangup":
                    return await self._hangup(fields, span)
                case _:
                    return await self._ring(fields, span)
        except WebhookRejected as rejected:
            self._log.warning("webhook rejected", webhook=name, status=rejected.status, why=str(rejected))
            headers = {"Connection": "close"} if rejected.status in (408, 413) else {}
            return "rejected", JSONResponse({"error": str(rejected)}, rejected.status, headers)
        except Exception:
            self._log.exception("webhook failed", webhook=name)
            return "error", JSONResponse({"error": "internal error"}, 500)

    # -- answer and fallback

    async def _answer(self, name: str, webhook: AnswerWebhook, span: Span) -> tuple[str, Response]:
        span.tell(call_id=webhook.call_uuid)
        began = time.perf_counter()
        admitted = await self._admission.admit(webhook, is_fallback=name == "fallback", span=span)
        took_s = time.perf_counter() - began
        span.past("place", took_s, verdict=admitted.verdict, worker_id=admitted.worker_id)
        result = _RESULTS[admitted.verdict]
        # in the next round of the loop, when the answer is on its way
        asyncio.get_running_loop().call_soon(self._write_down, name, webhook, admitted, took_s)
        if admitted.answer is None:
            status, message = _REFUSALS[admitted.verdict]
            headers = RETRY_AFTER if status == 503 else {}
            return result, JSONResponse({"error": message}, status, headers)
        return result, stream_json(admitted.answer)

    def _write_down(self, name: str, webhook: AnswerWebhook, admitted: Admitted, took_s: float) -> None:
        self._log.info("call asked for", webhook=name, call_id=webhook.call_uuid, verdict=admitted.verdict)
        self._meter.count(ADMISSIONS, result=admitted.verdict)
        if admitted.verdict in (Verdict.REGISTRY_AWAY, Verdict.PLACED_LOCALLY):
            self._meter.count(REGISTRY_ERRORS)
        call_id, took_ms = webhook.call_uuid, round(took_s * 1000, 1)
        write = self._notebook.write
        write(call_id, TimelineEvent.WEBHOOK, webhook=name, result=admitted.verdict, ms=took_ms)
        if admitted.verdict is Verdict.RESERVED:
            self._meter.observe(ANSWER_SECONDS, took_s, call_id=call_id)
            self._notebook.figures(call_id, answer_ms=took_ms)
            write(call_id, TimelineEvent.RESERVED, worker_id=admitted.worker_id)
        elif not admitted.verdict.is_placed and admitted.verdict is not Verdict.HELD:
            why = {"bot": "quarantined"} if admitted.is_barred else {}
            write(call_id, TimelineEvent.REFUSED, reason=admitted.verdict, **why)

    # -- hangup and ring: the carrier ignores what we say

    async def _hangup(self, fields: Mapping[str, object], span: Span) -> tuple[str, Response]:
        hangup = parse_hangup(fields)
        span.tell(call_id=call_id_of(hangup))
        result = await self._hangups.take(hangup, span)
        if result == "error":
            self._meter.count(REGISTRY_ERRORS)
        call_id = call_id_of(hangup)
        self._notebook.write(call_id, TimelineEvent.WEBHOOK, webhook="hangup", result=result)
        self._log.info("call hung up", call_id=call_id, carrier_status=hangup.call_status, result=result)
        return result, JSONResponse({"ok": True})

    async def _ring(self, fields: Mapping[str, object], span: Span) -> tuple[str, Response]:
        ring = parse_ring(fields)
        call_id = ring.call_uuid or ring.request_uuid
        span.tell(call_id=call_id)
        try:
            moved = await self._registry.move(call_id, CallEvent.RING, parties(ring) | span.change)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return "error", JSONResponse({"ok": True})
        span.join(moved.record.traceparent if moved.record else "")
        self._notebook.write(call_id, TimelineEvent.WEBHOOK, webhook="ring", result="accepted")
        is_first = moved.moved and moved.before != moved.record.state if moved.record else False
        return "accepted" if is_first else "duplicate", JSONResponse({"ok": True})


def stream_json(answer: StreamAnswer) -> Response:
    """HTTP 200 with the Stream JSON."""
    return JSONResponse(answer.to_json())
