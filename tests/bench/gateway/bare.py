"""The least that an answer webhook can cost: a Starlette handler that reads JSON, runs one script in Redis, says JSON.

`python -m tests.bench.gateway.bare --port P --redis URL`. The same HTTP parser, event loop and Redis client as ours.
"""

import argparse
import os

import uvicorn
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

SCRIPT = "redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000) return ARGV[1]"


def make_app(redis_url: str) -> Starlette:
    """One route, `/webhook/answer`."""
    run = Redis.from_url(redis_url, decode_responses=True).register_script(SCRIPT)

    async def answer(request: Request) -> JSONResponse:
        call_id = (await request.json())["call_uuid"]
        told = await run(keys=[f"bare:{call_id}"], args=[call_id])
        return JSONResponse({"stream": {"url": f"ws://127.0.0.1/ws/{told}", "codec": "PCMA", "sample_rate": 8000}})

    return Starlette(routes=[Route("/webhook/answer", answer, methods=["POST"])])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis", default=os.environ.get("REDIS_URL", ""))
    given = parser.parse_args()
    app = make_app(given.redis)
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning", loop="uvloop", http="h11")
