"""What does a held caller cost? So many wait at one gateway; its processor time is read.

    python -m tests.fleet.held_callers [--calls 100] [--seconds 15]

A gateway, a worker without a free slot and Redis as real processes; the carrier is this process, and sends every
caller's media (50 messages a second each). Prints one JSON object.
"""

import argparse
import asyncio
import json
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

import httpx2
import websockets

from shared.cli.fleet import LocalFleet

START = '{"event":"start","streamId":"s","callId":"x"}'
MEDIA = '{"event":"media","streamId":"s","media":{"payload":"%s","contentType":"audio/PCMA","sampleRate":8000}}' % (
    "1dXV" * 54
)
SETTINGS = {"SFVOPI_OVERFLOW": "hold", "SFVOPI_CALLS_PER_WORKER": "1", "SFVOPI_ATTACH_BY_S": "600"}


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Caller:
    """A stream that is spoken to and listened to; `gaps` are the seconds between what it was sent."""

    def __init__(self, stream: websockets.ClientConnection) -> None:
        self.stream = stream
        self.gaps: list[float] = []

    async def listen(self) -> None:
        before = time.monotonic()
        async for _ in self.stream:
            now = time.monotonic()
            self.gaps.append(now - before)
            before = now


async def talk(callers: list[Caller]) -> None:
    """Every caller's media, at their pace."""
    began, n = time.monotonic(), 0
    while True:
        for caller in callers:
            await caller.stream.send(MEDIA)
        n += 1
        await asyncio.sleep(max(0, began + n * 0.02 - time.monotonic()))


async def measure(calls: int, seconds: float) -> dict[str, object]:
    async with (
        LocalFleet(workers=1, housekeeping=False, bot="tests.fleet.bots:ends_at_once", env=SETTINGS) as fleet,
        httpx2.AsyncClient(timeout=10) as http,
        AsyncExitStack() as stack,
    ):
        urls = []
        for n in range(calls + 1):  # the first has the slot
            answer = await http.post(fleet.answer_url, json={"call_uuid": f"c-{n}", "to": "+918000000001"})
            urls.append(answer.json()["stream"]["url"])
        callers = []
        for url in urls[1:]:
            callers.append(Caller(await stack.enter_async_context(websockets.connect(url, compression=None))))
            await callers[-1].stream.send(START)
        tasks = [asyncio.create_task(caller.listen()) for caller in callers]
        await asyncio.sleep(3)
        pid = fleet.pid("gateway")
        silent_s, silent_for = cpu_s(pid), time.monotonic()
        await asyncio.sleep(seconds)
        silent = (cpu_s(pid) - silent_s) / (time.monotonic() - silent_for)
        tasks.append(asyncio.create_task(talk(callers)))
        await asyncio.sleep(2)
        for caller in callers:
            caller.gaps.clear()
        before_s, since = cpu_s(pid), time.monotonic()
        await asyncio.sleep(seconds)
        talking = (cpu_s(pid) - before_s) / (time.monotonic() - since)
        waiting = (await fleet.api.fleet())["waiting"]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    gaps = sorted(gap for caller in callers for gap in caller.gaps)
    return {
        "held": waiting,
        "of_a_core_without_media": round(silent, 3),
        "of_a_core": round(talking, 3),
        "of_a_core_per_caller": round(talking / calls, 5),
        "music_gap_ms": {"p50": round(median(gaps) * 1000), "p99": round(gaps[int(len(gaps) * 0.99)] * 1000)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=15)
    args = parser.parse_args()
    print(json.dumps(asyncio.run(measure(args.calls, args.seconds))))


if __name__ == "__main__":
    main()
