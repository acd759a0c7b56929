"""What a container's health check says of the process beside it."""

import asyncio

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from shared.cli.fleet.ports import free_port
from shared.process.healthcheck import look
from shared.process.server import serve


async def test_a_process_is_well_if_it_says_so_and_not_if_it_says_no_or_nothing() -> None:
    routes = [
        Route("/healthz", lambda _: PlainTextResponse("ok")),
        Route("/readyz", lambda _: PlainTextResponse("draining", 503)),
    ]
    server = await serve(Starlette(routes=routes), "127.0.0.1", 0)
    try:
        assert await asyncio.to_thread(look, server.port) == (True, "ok")
        assert await asyncio.to_thread(look, server.port, "/readyz") == (False, "draining")
        assert not (await asyncio.to_thread(look, server.port, "/elsewhere"))[0]
    finally:
        await server.stop()
    is_well, why = look(free_port())
    assert (is_well, "refused" in why) == (False, True)
