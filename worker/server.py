"""The worker's one port: streams at `/ws/<token>`, `/sessions`, health and metrics."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from shared.process.access import may_use_api
from shared.telemetry.endpoints import health_routes
from shared.telemetry.health import Health
from shared.telemetry.meter import Meter
from worker.admission import StreamRefused
from worker.attaching import Attaching
from worker.session import Session
from worker.sessions import Sessions


def worker_app(
    attaching: Attaching,
    sessions: Sessions,
    health: Health,
    meter: Meter,
    api_token: str,
    details: Callable[[], Mapping[str, Any]],
) -> Starlette:
    """The worker as an ASGI application."""

    async def stream(websocket: WebSocket) -> None:
        try:
            await attaching.serve(websocket, websocket.path_params["token"])
        except StreamRefused as refused:
            response = PlainTextResponse(refused.result, int(refused.status), headers=refused.headers)
            await websocket.send_denial_response(response)

    async def list_sessions(request: Request) -> Response:
        if not may_use_api(request, api_token):
            return JSONResponse({"error": "a bearer token is needed"}, 401)
        return JSONResponse({"sessions": [describe(session) for session in sessions.all()]})

    return Starlette(
        routes=[
            WebSocketRoute("/ws/{token}", stream),
            Route("/sessions", list_sessions),
            *health_routes(health, meter, details),
        ]
    )


def describe(session: Session) -> dict[str, Any]:
    """One session, for `/sessions`."""
    stream, ending = session.stream, session.ending
    return {
        "call_id": session.record.call_id,
        "bot": session.record.bot,
        "epoch": session.record.epoch,
        "stream": "attached" if stream.is_attached else "detached",
        "ending": str(ending.reason) if ending else "",
        "tasks": len(session.tasks.alive()),
    }
