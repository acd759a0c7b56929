"""Redis dies, freezes, is slow, forgets everything, fails over. Live calls do not notice."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.chaos.caller import Manner
from tests.chaos.scenes.scene import Scale, Scene
from tests.chaos.shapes import SENTINEL
from tests.chaos.stage import Stage, now_ms

COMES_BACK_S = 4.0  # heartbeats after it: what lives is known again
NEW_CALLS = 3

Step = Callable[[], Awaitable[None]]


async def away(stage: Stage, scale: Scale, go: Step, come: Step, away_s: float) -> None:
    """Live calls talk on through it; new ones are placed up to the local share, or refused by policy."""
    async with stage.calls(scale.calls) as callers:
        from_ms = now_ms()
        await go()
        await asyncio.sleep(1.0)
        new = [stage.place(Manner()) for _ in range(NEW_CALLS)]
        await asyncio.sleep(away_s - 1.0)
        to_ms = now_ms()
        await come()
        await stage.until(lambda: all(c.is_at_gate or c.has_ended for c in new), 30)
        await asyncio.sleep(COMES_BACK_S)
        ended = [caller for caller in callers if caller.has_ended]
        stage.expect(not ended, f"{len(ended)} live calls ended while Redis was away")
    stage.expect_unnoticed(callers, from_ms, to_ms)
    stage.note(new_calls_placed=sum(not c.is_refused for c in new), new_calls=len(new))


async def killed(stage: Stage, scale: Scale) -> None:
    redis = stage.fleet.redis

    async def come() -> None:
        await redis.start()

    await away(stage, scale, redis.kill, come, scale.of(30, 4))


async def frozen(stage: Stage, scale: Scale) -> None:
    redis = stage.fleet.redis

    async def go() -> None:
        redis.freeze()

    async def come() -> None:
        redis.thaw()

    await away(stage, scale, go, come, scale.of(30, 4))


async def slow(stage: Stage, scale: Scale) -> None:
    redis = stage.fleet.redis

    async def go() -> None:
        redis.slow_down()

    async def come() -> None:
        redis.speed_up()

    await away(stage, scale, go, come, scale.of(20, 4))


async def restarted_empty(stage: Stage, scale: Scale) -> None:
    redis = stage.fleet.redis

    async def nothing() -> None:
        pass

    await away(stage, scale, redis.restart_empty, nothing, 3)


async def failed_over(stage: Stage, scale: Scale) -> None:
    async def nothing() -> None:
        pass

    await away(stage, scale, stage.fleet.redis.fail_over, nothing, 8)


SCENES = [
    Scene(
        name="Redis killed",
        what="gone for 30 s (quick: 4 s), back empty",
        play=killed,
        calls=8,
        quick_paths=("direct",),
    ),
    Scene(
        name="Redis frozen",
        what="SIGSTOP for 30 s (quick: 4 s)",
        play=frozen,
        calls=8,
        quick_paths=("relayed",),
    ),
    Scene(
        name="Redis slow",
        what="1 s per command, through a proxy",
        play=slow,
        calls=8,
        quick_paths=("direct",),
    ),
    Scene(
        name="Redis restarted empty",
        what="killed, and at once back",
        play=restarted_empty,
        calls=8,
        rounds=2,
        quick_paths=("relayed",),
    ),
    Scene(
        name="Sentinel fail-over",
        what="the master is killed, the sentinel makes a master of its replica",
        play=failed_over,
        calls=8,
        quick_paths=("relayed",),
        shape=SENTINEL,
    ),
]
