"""Pipecat's Deepgram recognition over the process' TLS context.

It takes no client, so the class that it makes one of is replaced by a kind that costs nothing: recognition speaks
WebSocket, the HTTP client in it is never used.
"""

from typing import Any

import httpx
from deepgram import AsyncDeepgramClient
from pipecat.services.deepgram import stt

from worker.tls import http_context

TIMEOUT_S = 60  # the library's own


class _Client(AsyncDeepgramClient):
    def __init__(self, **options: Any) -> None:
        http = httpx.AsyncClient(verify=http_context(), timeout=TIMEOUT_S, follow_redirects=True)
        super().__init__(**{"httpx_client": http, **options})


stt.AsyncDeepgramClient = _Client  # type: ignore[attr-defined]
DeepgramSTTService = stt.DeepgramSTTService
