"""What calls and fleets of each size cost Redis: memory by key, commands by call, microseconds by script.

    python -m tests.bench.redis_cost [--calls 40] [--json]

First answered calls through real processes, with the providers faked at the wire: which keys a call leaves, what they
weigh, and which commands it took beside those of an idle fleet. Then the scripts alone, on fleets of growing size.
"""

import argparse
import asyncio
import json
import re
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from shared.carrier.call import place_call
from shared.carrier.plan import CallPlan, HangUp, Say, Wait, WaitForBot
from shared.cli.fleet import LocalFleet
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.registry import RedisRegistry
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import caller_speech
from tests.redis_server import RedisServer

AT_ONCE = 4
CALLS_EACH = 16  # of a worker, as autoscaling wants it
SIZES = (7, 63, 625, 6250)  # workers: for 100, 1,000, 10,000, 100,000 calls
IDLE_S = 10.0


async def cost_of_calls(calls: int, folder: Path) -> dict[str, Any]:
    """Answered calls of one question each, through a gateway and a worker."""
    server = RedisServer(folder)
    server.start()
    client = Redis.from_url(server.url, decode_responses=True)
    try:
        async with FakeProviders() as providers:
            fleet = LocalFleet(
                workers=1,
                bot="tests.fleet.bots:receptionist",
                redis_url=server.url,
                env={**providers.env, "SFVOPI_CALLS_PER_WORKER": "20"},
            )
            async with fleet:
                await client.config_resetstat()
                await asyncio.sleep(IDLE_S)
                idle = _per_second(await _commands(client), IDLE_S)
                await client.config_resetstat()
                began = asyncio.get_running_loop().time()
                reports = await _place(fleet, calls)
                lasted_s = asyncio.get_running_loop().time() - began
                busy = await _commands(client)
                await asyncio.sleep(3)  # housekeeping closes the records
                weights = await _weights(client)
    finally:
        await client.aclose()
        server.stop()
    completed = sum(report.outcome == "completed" for report in reports)
    commands = {name: (count - idle.get(name, 0) * lasted_s) / calls for name, count in busy.items()}
    return {
        "calls": calls,
        "completed": completed,
        "call_s": round(sum(report.duration_s or 0 for report in reports) / calls, 1),
        "commands_per_call": {n: round(c, 1) for n, c in sorted(commands.items(), key=lambda x: -x[1]) if c >= 0.5},
        "idle_commands_per_s": {n: round(c, 1) for n, c in sorted(idle.items(), key=lambda x: -x[1]) if c >= 0.1},
        "bytes_by_key": weights,
        "bytes_per_ended_call": round(sum(w for name, w in weights.items() if name.startswith("call:"))),
    }


async def _place(fleet: LocalFleet, calls: int) -> list[Any]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def place(number: int) -> Any:
        steps = (WaitForBot(quiet_s=0.4, limit_s=6), Say(pcm=caller_speech(number % 10)), Wait(4.0), HangUp())
        plan = CallPlan(answer_url=fleet.answer_url, hangup_url=fleet.hangup_url, steps=steps)
        async with gate:
            return await place_call(plan)

    return await asyncio.gather(*(place(number) for number in range(calls)))


async def _commands(client: Redis) -> dict[str, float]:
    """How often each was asked for, those inside of scripts included."""
    stats = await client.info("commandstats")
    return {name.removeprefix("cmdstat_"): float(stat["calls"]) for name, stat in stats.items()}


def _per_second(counts: dict[str, float], seconds: float) -> dict[str, float]:
    return {name: count / seconds for name, count in counts.items()}


async def _weights(client: Redis) -> dict[str, float]:
    """Bytes by kind of key, in the mean."""
    weights: dict[str, list[int]] = {}
    async for key in client.scan_iter("sfvopi:*"):
        kind = re.sub(r"^sfvopi:(call:)?\{[^}]+\}:", r"\1", key)
        kind = re.sub(r"^(slots|number):.*", r"\1", kind)
        weights.setdefault(kind, []).append(await client.memory_usage(key, samples=0) or 0)
    return {kind: round(sum(found) / len(found)) for kind, found in sorted(weights.items())}


async def cost_of_size(workers: int, folder: Path) -> dict[str, Any]:
    """Microseconds of Redis' thread for each script, with so many workers of 16 calls; and the memory of all that."""
    server = RedisServer(folder)
    server.start()
    registry = RedisRegistry.connect(server.unix_url, command_timeout_s=60, connect_timeout_s=5, wait_s=60)
    client = registry._redis
    try:
        before = int((await client.info("memory"))["used_memory"])

        async def beat(number: int) -> None:
            live = [f"{number:05}-4e1c-4a7b-9d57-{call:012}" for call in range(CALLS_EACH)]
            record = WorkerRecord(f"sfvopi-worker-{number:05}", "10.0.0.1:9100", WorkerState.SERVING, 24, "0.1.0")
            await registry.heartbeat(record, live, 600_000)

        for first in range(0, workers, 50):
            await asyncio.gather(*(beat(number) for number in range(first, min(workers, first + 50))))
        weight = int((await client.info("memory"))["used_memory"]) - before
        ids = [f"probe-{number}" for number in range(50)]
        asked: dict[str, list[Callable[[], Awaitable[Any]]]] = {
            "reserve": [lambda c=c: registry.reserve(c, 60_000, in_turn=True) for c in ids],  # type: ignore[misc]
            "occupy": [lambda c=c: registry.occupy(c, "sfvopi-worker-00000", 60_000) for c in ids[:6]],  # type: ignore[misc]
            "release": [lambda c=c: registry.release(c) for c in ids],  # type: ignore[misc]
            "heartbeat": [lambda n=n: beat(n) for n in range(min(50, workers))],  # type: ignore[misc]
            "workers": [registry.workers] * 10,
            "lapsed_slots": [registry.lapsed_slots] * 10,
        }
        spent = {name: await _microseconds(client, questions) for name, questions in asked.items()}
    finally:
        await registry.close()
        server.stop()
    return {"workers": workers, "calls": workers * CALLS_EACH, "mb": round(weight / 1e6, 2), "us": spent}


async def _microseconds(client: Any, questions: list[Callable[[], Awaitable[Any]]]) -> float:
    await questions[0]()  # the script is told to Redis once
    await client.config_resetstat()
    for ask in questions[1:]:
        await ask()
    stat = (await client.info("commandstats"))["cmdstat_evalsha"]
    return round(float(stat["usec"]) / float(stat["calls"]), 1)


async def measure(calls: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        sizes = [await cost_of_size(size, Path(folder)) for size in SIZES]
        return {"answered": await cost_of_calls(calls, Path(folder)) if calls else None, "sizes": sizes}


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.bench.redis_cost", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=40, help="0: only the fleets of growing size")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    told = asyncio.run(measure(given.calls))
    print(json.dumps(told, indent=None if given.json else 2))


if __name__ == "__main__":
    main()
