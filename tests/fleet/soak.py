"""Two hundred calls, ten at a time, ending in every possible way: what is left behind?

    python -m tests.fleet.soak [--calls 200] [--json]

One gateway, one worker, housekeeping and Redis as real processes; the providers are local servers that speak
their protocols. Exit status 0 only if every call ended as it should and nothing was left: no slot, no task, no
socket, and the worker's memory grew by no more than 5 MB from call 50 to the last.
"""

import argparse
import asyncio
import collections
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from shared.carrier.call import place_call
from shared.carrier.plan import CallPlan, HangUp, Knobs, Press, RawFrame, Say, Step, Wait, WaitForBot
from shared.cli.fleet import LocalFleet
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import caller_speech
from tests.outcome import tell

AT_ONCE = 10
FIRST = 50  # calls, after which a worker is warm
GROWTH_MB = 5.0
REGISTRY_POOL = 32 + 4  # what a process may hold at most, and the event loop's own
NUMBERS = {
    "+918000000001": "tests.fleet.bots:receptionist",
    "+918000000002": "tests.fleet.bots:raises",
    "+918000000003": "tests.fleet.bots:provider_down",
    "+918000000004": "tests.fleet.bots:swallows_its_end",
    "+918000000005": "tests.fleet.bots:ends_at_once",
}
SETTINGS = {
    "SFVOPI_CALLS_PER_WORKER": "20",
    "SFVOPI_RECONNECT_WINDOW_S": "1",
    "SFVOPI_MEDIA_TIMEOUT_S": "2",
    "SFVOPI_IDLE_S": "5",
    "SFVOPI_MAX_CALL_S": "13",
    "SFVOPI_ATTACH_BY_S": "3",
    "SFVOPI_START_DEADLINE_S": "2",
    "SFVOPI_END_GRACE_S": "2",
    "SFVOPI_CANCEL_GRACE_S": "1",
}


@dataclass(frozen=True)
class Scene:
    """One way to end: what the caller does, what the network does, and the reasons that may stand in the record."""

    name: str
    reasons: tuple[str, ...]
    number: str = "+918000000001"
    steps: tuple[Step, ...] = ()
    knobs: Knobs = field(default_factory=Knobs)
    place: Callable[["Soak", "Scene", str], Awaitable[Any]] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def scenes() -> list[Scene]:
    """Every way in which a call can end, one each."""
    ask = (WaitForBot(quiet_s=0.4, limit_s=6), Say(pcm=caller_speech(1)), Wait(1.5))
    short = (Wait(1.0),)
    return [
        Scene("caller hangs up", ("caller_hung_up",), steps=(*ask, HangUp())),
        Scene("hangup webhook lost", ("stream_closed",), steps=(*short, HangUp()), knobs=Knobs(hangup="lost")),
        Scene("hangup webhook doubled", ("caller_hung_up",), steps=(*short, HangUp()), knobs=Knobs(hangup="doubled")),
        Scene("hangup webhook first", ("caller_hung_up",), steps=(*short, HangUp()), knobs=Knobs(hangup_first=True)),
        Scene("hangup webhook late", ("stream_closed",), steps=(*short, HangUp()), knobs=Knobs(hangup_late_s=3)),
        Scene("socket torn down", ("caller_hung_up",), steps=(*ask, HangUp()), knobs=Knobs(close_how="abort")),
        Scene(
            "half-open socket",
            ("stream_closed",),
            steps=(*short, HangUp()),
            knobs=Knobs(hangup="lost", close_how="leave_open", leave_open_s=6),
        ),
        Scene("bot says goodbye", ("bot_ended",), number="+918000000005"),
        Scene("nobody speaks", ("idle",)),
        Scene(
            "longest call",
            ("max_duration",),
            steps=tuple(step for _ in range(7) for step in (Say(pcm=caller_speech(2)), Wait(1.5))),
        ),
        Scene("bot raises", ("bot_error",), number="+918000000002"),
        Scene("provider down", ("provider_error",), number="+918000000003"),
        Scene("pipeline swallows its end", ("caller_hung_up",), number="+918000000004", steps=(*short, HangUp())),
        Scene(
            "stream without start",
            ("no_start", "caller_hung_up"),
            knobs=Knobs(starts=0, hangup="lost"),
            steps=(Wait(5), HangUp()),
        ),
        Scene("answered, never attached", ("never_attached",), place=answer_only),
        Scene("answered, hung up before the stream", ("caller_hung_up",), place=answer_and_hang_up),
        Scene("hangup is all we ever see", ("no_answer",), place=hang_up_only),
        Scene(
            "network breaks, carrier comes back",
            ("caller_hung_up",),
            steps=(Wait(3), HangUp()),
            knobs=Knobs(drop_socket_at_s=1.0, reconnect_after_s=0.3),
        ),
        Scene(
            "junk on the wire",
            ("caller_hung_up",),
            steps=(Wait(1), Press("9"), Wait(1), HangUp()),
            knobs=Knobs(raw_frames=tuple(RawFrame(0.2 + i / 100, junk) for i, junk in enumerate(JUNK))),
        ),
        Scene("operator ends it", ("operator_ended",), place=end_by_api),
    ]


JUNK: tuple[str | bytes, ...] = (
    "{",
    "[]",
    "null",
    b"\x00\x01",
    '{"event":"media","media":null}',
    '{"event":"media","media":{"payload":"%%%"}}',
    '{"event":"nobody-knows"}',
    '{"event":"start"}',
    "x" * 2000,
    '{"event":"media","media":{"payload":"AAAA","contentType":"audio/PCMU","sampleRate":8000}}',
)


async def answer_only(soak: "Soak", scene: Scene, call_id: str) -> None:
    await soak.webhook("answer", call_uuid=call_id, to=scene.number, direction="INBOUND", **{"from": "+919800000000"})


async def answer_and_hang_up(soak: "Soak", scene: Scene, call_id: str) -> None:
    await answer_only(soak, scene, call_id)
    await soak.webhook("hangup", call_uuid=call_id, call_status="COMPLETED", duration=1, hangup_cause="16")


async def hang_up_only(soak: "Soak", scene: Scene, call_id: str) -> None:
    await soak.webhook("hangup", call_uuid=call_id, call_status="NO_ANSWER", duration=0, hangup_cause="19")


async def end_by_api(soak: "Soak", scene: Scene, call_id: str) -> None:
    call = asyncio.create_task(soak.carrier(scene, call_id))
    await asyncio.sleep(2)
    await soak.fleet.api.end(call_id)
    await call


class Soak:
    """One run: a fleet, its calls, and what was found afterwards."""

    def __init__(self, fleet: LocalFleet, total: int, say: Callable[[str], None]) -> None:
        self.fleet, self.total, self.say = fleet, total, say
        self.http = httpx2.AsyncClient(timeout=10)
        self.reasons: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.done = 0

    async def webhook(self, name: str, **fields: Any) -> None:
        await self.http.post(self.fleet.answer_url.rsplit("/", 1)[0] + f"/{name}", json=fields)

    async def carrier(self, scene: Scene, call_id: str) -> None:
        plan = CallPlan(
            answer_url=self.fleet.answer_url,
            fallback_url=self.fleet.fallback_url,
            hangup_url=self.fleet.hangup_url,
            call_uuid=call_id,
            to_number=scene.number,
            steps=scene.steps,
            knobs=scene.knobs,
            max_s=25,
            expects_audio=False,
            **scene.extra,
        )
        await place_call(plan)

    async def one(self, scene: Scene) -> None:
        call_id = f"soak-{uuid4()}"
        await (scene.place or Soak.carrier)(self, scene, call_id)  # type: ignore[arg-type]
        record = await self.record_of(call_id)
        self.reasons[str(record.get("reason"))] += 1
        if record.get("reason") not in scene.reasons:
            self.wrong.append(f"{scene.name}: ended {record.get('reason')!r}, not {' or '.join(scene.reasons)}")

    async def record_of(self, call_id: str) -> dict[str, Any]:
        """The call's record once it has ended, or as it is after 20 s."""
        record: dict[str, Any] = {}
        for _ in range(200):
            record = (await self.fleet.api.call(call_id))["call"]
            if record["state"] == "ended":
                break
            await asyncio.sleep(0.1)
        return record

    async def run(self) -> dict[str, Any]:
        """The first calls are a batch of their own, so that both looks are at a worker without a call: what a process
        fills once is full by the first, and all that the second finds on top is what calls have left behind."""
        every = scenes()
        queue = [every[i % len(every)] for i in range(self.total)]
        first = min(FIRST, self.total // 4)
        began = time.monotonic()
        await self.calls(queue[:first])
        before = await self.settled()
        await self.calls(queue[first:])
        after = await self.settled()
        await self.http.aclose()
        return {
            "calls": self.total,
            "seconds": round(time.monotonic() - began, 1),
            "reasons": dict(self.reasons),
            "wrong": self.wrong,
            "before": before,
            "after": after,
            "rss_growth_mb": round(after["rss_mb"] - before["rss_mb"], 1),
            "slots_left": after["slots"],
            "tasks_left": after["tasks"] - before["tasks"],
            "sockets_left": after["sockets"] - before["sockets"],
            "registry_over": max(0, after["registry"] - REGISTRY_POOL),
        }

    async def calls(self, batch: list[Scene]) -> None:
        """These calls, ten at a time."""
        queue = iter(batch)

        async def caller() -> None:
            for scene in queue:
                await self.one(scene)
                self.done += 1
                if self.done % 20 == 0:
                    memory = rss_mb(self.fleet.pid("worker-1"))
                    self.say(f"{self.done}/{self.total} calls, worker {memory:.0f} MB")

        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))

    async def settled(self) -> dict[str, Any]:
        """What the worker holds once no slot is taken and nothing changes any more (at most 20 s)."""
        last: dict[str, Any] = {}
        for _ in range(20):
            now = await self.holdings()
            if now["slots"] == 0 and now == last | {"rss_mb": now["rss_mb"]}:
                break
            last = now
            await asyncio.sleep(1)
        return await self.holdings()

    async def holdings(self) -> dict[str, Any]:
        fleet = await self.fleet.api.fleet()
        pid = self.fleet.pid("worker-1")
        return {
            "slots": fleet["used"],
            "tasks": await self.count_tasks(),
            **sockets(pid),
            "rss_mb": round(rss_mb(pid), 1),
        }

    async def count_tasks(self) -> int:
        """Tasks of the worker, by its own account (SIGUSR1 writes them to its log)."""
        seen = len(self.dumps())
        self.fleet.kill("worker-1", signal.SIGUSR1)
        for _ in range(100):
            dumps = self.dumps()
            if len(dumps) > seen:
                return int(dumps[-1]["count"])
            await asyncio.sleep(0.05)
        raise AssertionError("the worker did not answer SIGUSR1 with a list of its tasks")

    def dumps(self) -> list[dict[str, Any]]:
        return [line for line in self.fleet.logs("worker-1") if line.get("event") == "tasks"]


def rss_mb(pid: int) -> float:
    """Resident memory of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def sockets(pid: int) -> dict[str, int]:
    """Open sockets of a process: those to the registry, which are Unix ones here and kept in a pool, and all others.

    The pool grows to as many as were ever busy at a moment, which is a matter of chance, and no further than its size.
    """
    unix = {line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
    count = {"sockets": 0, "registry": 0}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            kind, _, inode = os.readlink(link).partition(":")
        except OSError:
            continue
        if kind == "socket":
            count["registry" if inode.strip("[]") in unix else "sockets"] += 1
    return count


async def soak(total: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run it; the report says what was found."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = Path(folder) / "numbers.toml"
        numbers.write_text("".join(f'["{number}"]\nbot = "{bot}"\n' for number, bot in NUMBERS.items()))
        async with FakeProviders() as providers:
            env = {**providers.env, **SETTINGS, "SFVOPI_BOTS": str(numbers)}
            async with LocalFleet(workers=1, bot=NUMBERS["+918000000001"], env=env) as fleet:
                return await Soak(fleet, total, say).run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    given = parser.parse_args()
    report = asyncio.run(soak(given.calls, lambda line: print(line, file=sys.stderr, flush=True)))
    left = any(report[name] > 0 for name in ("slots_left", "tasks_left", "sockets_left", "registry_over"))
    report["passed"] = not report["wrong"] and not left and report["rss_growth_mb"] <= GROWTH_MB
    return tell(report, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
