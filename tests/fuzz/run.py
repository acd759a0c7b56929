"""One run: a gateway, a worker and Redis as real processes, hostile callers, strangers, and a good call beside them."""

import asyncio
import contextlib
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from shared.carrier.call import place_call
from shared.carrier.plan import CallPlan, HangUp, Say, Wait, WaitForBot
from shared.carrier.report import CallOutcome
from shared.cli.fleet import LocalFleet
from tests.chaos.log_search import search
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import caller_speech
from tests.fleet.soak import rss_mb, sockets
from tests.fuzz.messages import last_words, messages
from tests.fuzz.requests import request

AT_ONCE = 8
OF_A_CALL = 900  # messages: more at once are a flood, and dropped unread
BREATH = 5  # messages
WEBHOOK_SECRET = "fuzz-webhook-secret-0815"
HOSTILE, GOOD = "+918000000009", "+918000000001"
HOSTILE_FROM = "+919812345678"
GROWTH_MB = 25.0
SETTINGS = {
    "SFVOPI_CALLS_PER_WORKER": "20",
    "SFVOPI_RECONNECT_WINDOW_S": "0.5",
    "SFVOPI_ATTACH_BY_S": "5",  # strangers who know the secret have calls placed whose streams never come
    "SFVOPI_WATCHDOG_S": "10",
}
PROCESSES = ("gateway", "worker-1")


class Fuzz:
    """What is sent, and what comes of it."""

    def __init__(self, fleet: LocalFleet, total: int, seed: int, say: Callable[[str], None]) -> None:
        self.fleet, self.total, self.seed, self.say = fleet, total, seed, say
        self.http = httpx2.AsyncClient(timeout=10, trust_env=False)
        self.sent = 0
        self.streams = 0
        self.requests = 0
        self.statuses: Counter[str] = Counter()
        self.closes: Counter[int | None] = Counter()
        self.wrong: list[str] = []
        self.good_calls = 0

    async def run(self) -> dict[str, Any]:
        began = time.monotonic()
        # what is filled once (a provider's pool of connections, caches) is full from here on
        await asyncio.gather(self.storm(min(self.total // 10, 5_000), "warm"), self.good_call())
        before = await self.settled()
        good = asyncio.create_task(self.keep_calling())
        await self.storm(self.total - self.sent, "storm")
        good.cancel()
        await asyncio.gather(good, return_exceptions=True)
        await self.good_call()
        after = await self.settled()
        await self.http.aclose()
        return self.report(before, after, time.monotonic() - began)

    async def storm(self, count: int, name: str) -> None:
        left = count

        async def caller(number: int) -> None:
            nonlocal left
            rng = random.Random(f"{self.seed}:{name}:{number}")  # each its own, so that a run can be told again
            while left > 0:
                share = min(OF_A_CALL, left)
                left -= share
                sent = await self.hostile_call(rng, share)
                left += share - sent

        async def stranger() -> None:
            rng = random.Random(f"{self.seed}:{name}:strangers")
            for _ in range(count // 50):
                await self.stranger(rng)

        await asyncio.gather(stranger(), *(caller(number) for number in range(AT_ONCE)))

    # -- on streams

    async def hostile_call(self, rng: random.Random, count: int) -> int:
        """One call with so many messages, if it can be had; how many were sent."""
        call_id = f"fuzz-{uuid4()}"
        url = await self.answer(call_id)
        if not url:
            await asyncio.sleep(0.2)  # all slots are taken by calls that are being wound up
            return 0
        try:
            stream = await connect(url, compression=None, proxy=None, max_size=None, close_timeout=2)
        except (InvalidStatus, OSError, TimeoutError) as error:
            status = error.response.status_code if isinstance(error, InvalidStatus) else type(error).__name__
            self.statuses[f"upgrade {status}"] += 1
            return 0
        self.streams += 1
        sent = 0
        reading = asyncio.create_task(self.drain(stream))
        try:
            await stream.send('{"event":"start","streamId":"SFV_0","callId":"c"}')
            for message, _ in zip(messages(rng), range(count), strict=False):
                sent += 1
                await stream.send(message)
                if sent % BREATH == 0:
                    await asyncio.sleep(0.01)  # the good caller lives in this loop, too, and must not stutter
            await self.leave(stream, rng)
        except ConnectionClosed:
            pass
        finally:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reading, 10)
            stream.transport.abort()
            self.closes[stream.close_code] += 1
            self.sent += sent
        if rng.random() < 0.8:
            fields = {"call_uuid": call_id, "call_status": "COMPLETED", "duration": 1}
            await self.http.post(self.fleet.hangup_url, json=fields)
        return sent

    async def answer(self, call_id: str) -> str:
        fields = {"call_uuid": call_id, "from": HOSTILE_FROM, "to": HOSTILE, "direction": "INBOUND"}
        response = await self.http.post(self.fleet.answer_url, json=fields)
        self.statuses[f"answer {response.status_code}"] += 1
        return str(response.json()["stream"]["url"]) if response.status_code == 200 else ""

    async def leave(self, stream: ClientConnection, rng: random.Random) -> None:
        match rng.randrange(4):
            case 0:
                await stream.close()
            case 1:
                stream.transport.abort()
            case _:
                stream.transport.write(last_words(rng))
                await asyncio.sleep(0.1)
                stream.transport.abort()

    async def drain(self, stream: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await stream.recv()

    # -- over HTTP

    async def stranger(self, rng: random.Random) -> None:
        sent = request(rng, WEBHOOK_SECRET, f"fuzz-http-{uuid4()}")
        self.requests += 1
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.fleet.port)
        except OSError as error:
            self.wrong.append(f"no connection for a stranger: {error}")
            return
        head = b""
        with contextlib.suppress(OSError, TimeoutError):
            writer.write(sent)
            if rng.random() < 0.5:
                writer.write_eof()
            head = await asyncio.wait_for(reader.read(200), 1.0)
        status = head.split(b" ")[1].decode("ascii", "replace") if head.startswith(b"HTTP/1.1 ") else "none"
        self.statuses[f"stranger {status}"] += 1
        if status == "500" or (status == "101" and b"switching" in head.lower()):
            self.wrong.append(f"a stranger got {status} for {sent[:200]!r}")
        writer.transport.abort()

    # -- beside it

    async def keep_calling(self) -> None:
        while True:
            await self.good_call()

    async def good_call(self) -> None:
        """Somebody who wants nothing but to talk."""
        report = await place_call(
            CallPlan(
                answer_url=self.fleet.answer_url,
                fallback_url=self.fleet.fallback_url,
                hangup_url=self.fleet.hangup_url,
                call_uuid=f"good-{uuid4()}",
                to_number=GOOD,
                steps=(
                    WaitForBot(quiet_s=0.6, limit_s=15),
                    Say(pcm=caller_speech(1)),
                    WaitForBot(quiet_s=0.6, limit_s=15),
                    Wait(0.5),
                    HangUp(),
                ),
                max_s=60,
            )
        )
        self.good_calls += 1
        if report.outcome is not CallOutcome.COMPLETED or not report.response_ms:
            seen = (report.heard_s, report.sounds_ms, report.lag_ms, report.turns)
            self.wrong.append(f"a good call: {report.outcome}, {report.errors}, {seen}")

    # -- what is left

    async def settled(self) -> dict[str, Any]:
        """What both processes hold once no slot is taken and nothing changes any more (at most 30 s)."""
        last: dict[str, Any] = {}
        for _ in range(30):
            now = await self.holdings()
            if now["slots"] == 0 and {**now, "rss_mb": 0} == {**last, "rss_mb": 0}:
                break
            last = now
            await asyncio.sleep(1)
        return now

    async def holdings(self) -> dict[str, Any]:
        """The pool of the registry's connections grows to what was ever busy at once, by chance: it is not counted."""
        held: dict[str, Any] = {"slots": (await self.fleet.api.fleet())["used"], "rss_mb": {}}
        for name in PROCESSES:
            pid = self.fleet.pid(name)
            held["rss_mb"][name] = round(rss_mb(pid), 1)
            held[f"{name} sockets"] = sockets(pid)["sockets"]
            held[f"{name} tasks"] = await self.count_tasks(name)
        return held

    async def count_tasks(self, name: str) -> int:
        """By the process' own account (SIGUSR1 writes them to its log)."""
        seen = len(self.dumps(name))
        self.fleet.kill(name, signal.SIGUSR1)
        async with asyncio.timeout(10):
            while len(self.dumps(name)) <= seen:
                await asyncio.sleep(0.05)
        return int(self.dumps(name)[-1]["count"])

    def dumps(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.fleet.logs(name) if line.get("event") == "tasks"]

    def report(self, before: dict[str, Any], after: dict[str, Any], seconds: float) -> dict[str, Any]:
        errors = Counter(
            f"{name}: {line.get('event') or line.get('text', '')!r:.200}: {line.get('exception', '')}"
            for name in PROCESSES
            for line in self.fleet.logs(name)
            if line.get("level") in ("error", "critical") or "text" in line
            if "no speech detection" not in str(line.get("event"))  # true of the hostile callers' bot
        )
        growth = {name: round(after["rss_mb"][name] - before["rss_mb"][name], 1) for name in PROCESSES}
        left = {
            name: after[name] - before[name]
            for name in after
            if name not in ("rss_mb", "slots") and after[name] > before[name]
        }
        secrets = {"the token key": self.fleet.token_secret, "the webhook secret": WEBHOOK_SECRET}
        secrets["the API token"] = self.fleet.api_token
        leaks = search(self.fleet.folder, secrets, [HOSTILE, GOOD, HOSTILE_FROM, "+919800000000"])
        restarted = [name for name in PROCESSES if not self.fleet.children[name].is_running]
        faults = [
            *self.wrong,
            *(f"log: {line} × {count}" for line, count in errors.items()),
            *(f"left: {name} {count}" for name, count in left.items()),
            *(f"{name} grew by {grown} MB" for name, grown in growth.items() if grown > GROWTH_MB),
            *(f"{name} has died" for name in restarted),
            *([f"{after['slots']} slots are taken"] if after["slots"] else []),
            *(f"500: {name}" for name in self.statuses if name.endswith(" 500")),
            *(f"in a log: {leak}" for leak in leaks[:20]),
        ]
        return {
            "messages": self.sent,
            "streams": self.streams,
            "requests": self.requests,
            "seconds": round(seconds, 1),
            "good_calls": self.good_calls,
            "statuses": dict(sorted(self.statuses.items())),
            "closes": {str(code): count for code, count in self.closes.items()},
            "log_lines": {name: len(self.fleet.logs(name)) for name in PROCESSES},
            "growth_mb": growth,
            "before": before,
            "after": after,
            "faults": faults,
            "passed": not faults,
        }


async def fuzz(total: int, seed: int, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Run it; `faults` of the report says what was found."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = Path(folder) / "numbers.toml"
        numbers.write_text(
            f'["{HOSTILE}"]\nbot = "tests.fuzz.bots:listens"\n["{GOOD}"]\nbot = "tests.fleet.bots:receptionist"\n'
        )
        async with FakeProviders() as providers:
            env = {**providers.env, **SETTINGS, "SFVOPI_BOTS": str(numbers)}
            options = {"env": env, "webhook_secret": WEBHOOK_SECRET, "run_dir": Path(folder) / "logs"}
            async with LocalFleet(workers=1, bot="tests.fleet.bots:receptionist", **options) as fleet:
                return await Fuzz(fleet, total, seed, say).run()
