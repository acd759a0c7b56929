"""The flat fields of a webhook, read from a request with bounds on size and time before anything is parsed."""

import asyncio
import json
from collections.abc import Mapping

from starlette.requests import ClientDisconnect, Request

from shared.sfvopi.errors import WebhookRejected

MAX_BODY_BYTES = 16 * 1024
MAX_DISCARDED_BYTES = 2 * 1024 * 1024  # read and thrown away, so that the sender gets to see its 413
BODY_DEADLINE_S = 5.0


async def read_fields(request: Request) -> Mapping[str, object]:
    """The query of a GET, or the JSON object of a POST. Raises `WebhookRejected` (400, 408, 413)."""
    if request.method == "GET":
        return dict(request.query_params)
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            body = await _read_body(request)
    except TimeoutError:
        raise WebhookRejected(408, f"the body did not come within {BODY_DEADLINE_S:g} s") from None
    except ClientDisconnect:
        raise WebhookRejected(400, "the sender went away") from None
    return parse_object(body)


async def _read_body(request: Request) -> bytes:
    kept, seen = bytearray(), 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > MAX_DISCARDED_BYTES:
            break
        if seen <= MAX_BODY_BYTES:
            kept += chunk
    if seen > MAX_BODY_BYTES:
        raise WebhookRejected(413, f"a webhook has at most {MAX_BODY_BYTES} bytes")
    return bytes(kept)


def parse_object(body: bytes) -> dict[str, object]:
    """The JSON object in `body`. Raises `WebhookRejected` for anything else, however deep or odd."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, numbers without end, brackets without end
        raise WebhookRejected(400, "the body is not JSON") from None
    if not isinstance(fields, dict):
        raise WebhookRejected(400, "the body must be a JSON object with flat fields")
    return fields
