"""`GET /route`, nginx's question for every upgrade: where does this stream go? May be asked twice.

The second time it comes with `X-Failed-Worker`, the address that has just not taken the stream. Where media is to be
relayed, every stream goes to this gateway, whose leg asks again; so does that of a call which came through the line,
wherever it is by now: it stays relayed to its end; that of a call which may have killed its worker; and that of a new
call which no worker may take, if its number's policy is to hold the caller or to say something.

Moves nothing. That a stream was refused for want of a worker is all that it writes down.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.director import Director
from gateway.losses import LostCalls
from gateway.routing import AnswerHere, Hold, JudgeHere, Refused, Route, is_from_line
from gateway.streams import RETRY_AFTER_S
from shared.sfvopi.closing import Refusal


class RouteEndpoint:
    """204 with `X-Worker: ip:port`, or the status with which the stream is to be refused."""

    def __init__(
        self,
        director: Director,
        lost_calls: LostCalls,
        stream_path: str,
        public_port: int,
        *,
        is_relayed: bool = False,
    ) -> None:
        self._director = director
        self._lost_calls = lost_calls
        self._prefix = stream_path + "/"
        self._public_port = public_port
        self._is_relayed = is_relayed

    async def take(self, request: Request) -> Response:
        path = request.headers.get("x-original-uri", "").partition("?")[0]  # a path, never a URL: nothing else to read
        if not path.startswith(self._prefix):
            return _refused(Refused(Refusal.UNKNOWN, "not a stream's path"))
        failed_address = request.headers.get("x-failed-worker", "")
        token, decision = await self._director.direct(path.removeprefix(self._prefix), failed_address)
        match decision:
            case Route() if not (self._is_relayed or (token and is_from_line(token))):
                if not (failed_address and token and await self._director.instead(token)):
                    return Response(status_code=204, headers={"X-Worker": decision.address})
            case Refused():
                is_full = decision.status is Refusal.UNAVAILABLE
                if not (is_full and token and await self._director.instead(token)):
                    if is_full and token:
                        await self._lost_calls.mark(token.call_id, decision.why)
                    return _refused(decision)
            case Route() | Hold() | AnswerHere() | JudgeHere():
                pass
        return Response(status_code=204, headers={"X-Worker": self._own_address(request)})

    def _own_address(self, request: Request) -> str:
        """The public port at the address where nginx has just reached us."""
        host = (request.scope.get("server") or ("127.0.0.1", 0))[0]
        return f"[{host}]:{self._public_port}" if ":" in host else f"{host}:{self._public_port}"


def _refused(decision: Refused) -> Response:
    headers = {"Retry-After": RETRY_AFTER_S} if decision.status is Refusal.UNAVAILABLE else {}
    return JSONResponse({"error": decision.why}, int(decision.status), headers)
