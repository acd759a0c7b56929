"""Stands before the public port's routes: who may come in at all, and what becomes of those who fail too often.

With an allow-list, whoever is not on it gets 403 before anything is parsed. A source that has failed too often (bad
token, bad secret, unknown path) gets 429 for each further failure; its good requests go through. Says so in the log
once in a while, never once for each.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.failures import Failures
from gateway.sources import source_of
from shared.networks import Address, Network, is_within
from shared.telemetry.catalogue import TURNED_AWAY
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter

LOG_EVERY_S = 10.0
FAILURES_OF = {  # statuses that a carrier of ours never gets
    "http.response.start": frozenset({404, 405}),  # unknown path, bad secret, wrong method
    "websocket.http.response.start": frozenset({401}),  # a bad token; 404 is a good one, of a call that is lost
}
_RESPONSE = {"http": "http.response", "websocket": "websocket.http.response"}


class Door:
    """What is known of the public: settings, budgets, and who was turned away. One for each gateway."""

    def __init__(
        self,
        allowed: Sequence[Network],
        proxies: Sequence[Network],
        failures: Failures,
        meter: Meter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = allowed
        self._proxies = proxies
        self._failures = failures
        self._meter = meter
        self._clock = clock
        self._untold: Counter[str] = Counter()
        self._told_at = -LOG_EVERY_S
        self._log = get_logger(__name__)

    @property
    def retry_after_s(self) -> int:
        return self._failures.retry_after_s

    def source(self, scope: Scope) -> Address | None:
        peer = (scope.get("client") or ("",))[0]
        return source_of(peer, Headers(scope=scope).getlist("x-forwarded-for"), self._proxies)

    def lets_in(self, source: Address | None) -> bool:
        """Whether the source may ask for anything at all."""
        if not self._allowed or (source is not None and is_within(source, self._allowed)):
            return True
        self._turn_away("not_allowed", source)
        return False

    def bears(self, source: Address | None) -> bool:
        """Whether one more failure of this source is answered as it is."""
        if self._failures.spend(source, self._clock()):
            return True
        self._turn_away("too_many_failures", source)
        return False

    def _turn_away(self, why: str, source: Address | None) -> None:
        self._meter.count(TURNED_AWAY, why=why)
        self._untold[why] += 1
        if self._clock() - self._told_at >= LOG_EVERY_S:
            self._log.warning("strangers turned away", newest=str(source or "unknown"), **self._untold)
            self._told_at = self._clock()
            self._untold.clear()


class Doorkeeper:
    """The middleware. `limits_failures=False` where a 429 cannot be passed on."""

    def __init__(self, app: ASGIApp, door: Door, limits_failures: bool = True) -> None:
        self._app = app
        self._door = door
        self._limits = limits_failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in _RESPONSE:
            return await self._app(scope, receive, send)
        source = self._door.source(scope)
        if not self._door.lets_in(source):
            return await _answer(_refusal(403, "not for you"), scope, send)
        return await self._app(scope, receive, self._watched(source, scope, send) if self._limits else send)

    def _watched(self, source: Address | None, scope: Scope, send: Send) -> Send:
        """A `send` that replaces the answer to one failure too many."""
        is_begun = is_replaced = False

        async def watched(message: Message) -> None:
            nonlocal is_begun, is_replaced
            if not is_begun:
                is_begun = True
                if _is_failure(message) and not self._door.bears(source):
                    is_replaced = True
                    again = {"Retry-After": str(self._door.retry_after_s)}
                    await _answer(_refusal(429, "too many failures", again), scope, send)
            if not is_replaced:
                await send(message)

        return watched


def _is_failure(first: Message) -> bool:
    """By the first message of an answer; a WebSocket that is closed before it was accepted had no path of ours."""
    if first["type"] == "websocket.close":
        return True
    return first.get("status") in FAILURES_OF.get(first["type"], frozenset())


def _refusal(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": why}, status, {"Connection": "close", **(headers or {})})


async def _answer(response: Response, scope: Scope, send: Send) -> None:
    prefix = _RESPONSE[scope["type"]]
    await send({"type": f"{prefix}.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": f"{prefix}.body", "body": response.body})
