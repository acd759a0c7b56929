"""Tokens that are not good, in numbers; and more calls than there is room for."""

import asyncio
import contextlib
from collections import Counter

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from shared.sfvopi.formats import PCMA_8K
from shared.tokens import StreamToken, sign_token
from tests.chaos.caller import Manner
from tests.chaos.scenes.scene import Scale, Scene
from tests.chaos.stage import Stage, now_ms

AT_ONCE = 20
AN_HOUR_MS = 3_600_000
OVER_CAPACITY = 6


async def bad_tokens(stage: Stage, scale: Scale) -> None:
    """A flood of them beside live calls: nobody gets in, and nobody notices."""
    ended = stage.place(Manner(ends="hangup"))
    await stage.until(lambda: ended.is_at_gate or ended.has_ended, 30)
    stage.open_gate()
    await stage.until(lambda: ended.has_ended, 30)
    stage.close_gate()
    async with stage.calls(scale.calls) as callers:
        where = {call_id: record["worker_id"] for call_id, record in (await stage.fleet.calls()).items()}
        tokens = make_tokens(stage.fleet.fleet.token_secret, [c.call_id for c in callers], ended.call_id, where)
        from_ms = now_ms()
        statuses = await flood(stage, [token for token in tokens for _ in range(round(scale.of(60, 15)))])
        to_ms = now_ms()
    stage.note(upgrades=dict(statuses))
    stage.expect(not statuses["101"], f"{statuses['101']} strangers got a stream")
    stage.expect(not statuses["500"], f"{statuses['500']} bad tokens were answered with 500")
    stage.expect_unnoticed(callers, from_ms, min(to_ms, from_ms + 15_000))


def make_tokens(secret: str, live: list[str], ended: str, workers: dict[str, str]) -> list[str]:
    """Junk, forged, expired, of calls that ended or never were, and replayed while its call's own stream is alive."""
    later = now_ms() + AN_HOUR_MS

    def token(call_id: str, until_ms: int, key: str) -> str:
        return sign_token(StreamToken(call_id, workers.get(call_id, "worker-1"), PCMA_8K, until_ms, until_ms), key)

    return [
        "x" * 40,
        token(live[0], later, "a-key-of-a-strangers-own"),
        token(live[0], now_ms() - 1000, secret),
        token(live[0], later, secret)[:-3] + "AAA",
        token(ended, later, secret),
        token("never-heard-of", later, secret),
        *(token(call_id, later, secret) for call_id in live[:2]),
    ]


async def flood(stage: Stage, tokens: list[str]) -> Counter[str]:
    """Try them all, some at a time. Counts what was answered."""
    stage.rng.shuffle(tokens)
    queue, statuses = iter(tokens), Counter[str]()
    base = stage.fleet.fleet.public_url.replace("http", "ws", 1)

    async def stranger() -> None:
        for token in queue:
            statuses[await upgrade(f"{base}/ws/{token}")] += 1

    await asyncio.gather(*(stranger() for _ in range(AT_ONCE)))
    return statuses


async def upgrade(url: str) -> str:
    """The HTTP status of an upgrade, or why there was none."""
    try:
        socket = await connect(url, proxy=None, open_timeout=10)
    except InvalidStatus as refused:
        return str(refused.response.status_code)
    except (OSError, TimeoutError, WebSocketException) as error:
        return type(error).__name__
    with contextlib.suppress(WebSocketException, OSError):
        await socket.close()
    return "101"


async def burst(stage: Stage, scale: Scale) -> None:
    """More calls at once than the fleet has slots: as many as fit are placed, the others are refused by policy."""
    capacity = stage.fleet.shape.calls_per_worker * len(stage.fleet.fleet.worker_names)
    async with stage.calls(capacity + OVER_CAPACITY, [Manner(tries=2)], over_s=0.5) as callers:
        used = (await stage.fleet.fleet_figures()).get("used", 0)
        stage.expect(used <= capacity, f"{used} slots taken of {capacity}")
    refused = sum(caller.is_refused for caller in callers)
    stage.expect(refused == OVER_CAPACITY, f"{refused} refused, not {OVER_CAPACITY}")


SCENES = [
    Scene(
        name="bad tokens",
        what="junk, forged, expired, replayed, of ended calls",
        play=bad_tokens,
        calls=6,
        quick_paths=("direct",),
    ),
    Scene(
        name="burst",
        what="six calls more than there are slots, within half a second",
        play=burst,
        rounds=3,
        quick_paths=("relayed",),
    ),
]
