"""Workers die, freeze, drain, and their clocks go wrong."""

import asyncio
import signal

from tests.chaos.caller import Manner
from tests.chaos.scenes.scene import Scale, Scene
from tests.chaos.stage import Stage

RESUMES_S = 2.0
WATCHDOG_S = 3.0
RELAYED = ("relayed",)


async def kill(stage: Stage, scale: Scale) -> None:
    async with stage.calls(scale.calls):
        name, _ = await stage.hit_worker(signal.SIGKILL)
        await stage.settle(RESUMES_S)
    await stage.fleet.start_again(name)


async def freeze_watched(stage: Stage, scale: Scale) -> None:
    """The watchdog kills it: to its calls that is a death, some seconds late."""
    async with stage.calls(scale.calls):
        name, _ = await stage.hit_worker(signal.SIGSTOP)
        was_killed = await stage.fleet.until_ended(name, within_s=15)
        stage.expect(was_killed, "a frozen worker was not killed by its watchdog")
        await stage.settle(RESUMES_S)
    await stage.fleet.start_again(name)


async def freeze_unwatched(stage: Stage, scale: Scale) -> None:
    """Nobody kills it. It sleeps past its lease, wakes, and must not speak over whoever has its calls now."""
    name = "worker-1"
    stage.fleet.signal(name, signal.SIGTERM)
    await stage.fleet.until_ended(name, within_s=10)
    await stage.fleet.start_again(name, SFVOPI_WATCHDOG_S="0")
    async with stage.calls(scale.calls):
        at_ms = stage.fleet.signal(name, signal.SIGSTOP)
        stage.mark(await stage.callers_at(name), at_ms)
        await asyncio.sleep(scale.of(20, 6))
        stage.fleet.signal(name, signal.SIGCONT)
        await stage.settle(RESUMES_S)
    stage.fleet.signal(name, signal.SIGTERM)
    await stage.fleet.until_ended(name, within_s=15)
    await stage.fleet.start_again(name)


async def drain_in_turn(stage: Stage, scale: Scale) -> None:
    """Each worker in turn is told to end, and another one comes: calls on it finish, new ones go elsewhere."""
    async with stage.calls(scale.calls) as callers:
        first = await stage.busiest_worker()
        stage.fleet.signal(first, signal.SIGTERM)
        stage.say(f"SIGTERM to {first}")
        await asyncio.sleep(1.5)  # a drain is known at once: these go elsewhere
        late = [stage.place(Manner()) for _ in range(2)]
        await stage.until(lambda: all(c.is_at_gate or c.has_ended for c in late), 30)
        at = await stage.where_calls_are()
        stage.expect(
            not any(at.get(caller.call_id) == first for caller in late),
            f"a new call was placed on {first}, which drains",
        )
        stage.expect(not any(caller.has_ended for caller in callers), "a drain cut a call off")
    ended = await stage.fleet.until_ended(first, within_s=10)
    stage.expect(ended, f"{first} did not end after its last call")
    await stage.fleet.start_again(first)
    others = [name for name in stage.fleet.fleet.worker_names if name != first]
    for name in others:
        stage.fleet.signal(name, signal.SIGTERM)
        stage.expect(await stage.fleet.until_ended(name, within_s=10), f"{name} without a call did not end")
        await stage.fleet.start_again(name)


async def rolling_restart(stage: Stage, scale: Scale) -> None:
    """Every process, one after another, under load."""
    async with stage.calls(scale.calls):
        restarting = asyncio.create_task(stage.fleet.fleet.rolling_restart())  # type: ignore[attr-defined]
        await asyncio.sleep(2)
        stage.open_gate()
        while not restarting.done():
            stage.place(Manner())
            await asyncio.sleep(2.0)
        await restarting
        refused = [caller for caller in stage.result.callers if caller.has_ended and caller.is_refused]
        stage.expect(not refused, f"{len(refused)} calls refused while capacity was there")


async def clock_off(stage: Stage, scale: Scale) -> None:
    """One worker's wall clock is 5 minutes ahead, a gateway's 5 minutes behind."""
    gateway, worker = stage.fleet.gateway_names[0], "worker-1"
    for name, off in ((worker, "300"), (gateway, "-300")):
        stage.fleet.signal(name, signal.SIGTERM)
        await stage.fleet.until_ended(name, within_s=10)
        await stage.fleet.start_again(name, CHAOS_CLOCK_OFF_S=off)
    async with stage.calls(scale.calls):
        killed, _ = await stage.hit_worker(signal.SIGKILL)
        await stage.settle(RESUMES_S)
    names = sorted({gateway, worker, killed})
    for name in names:
        stage.fleet.signal(name, signal.SIGTERM)
        await stage.fleet.until_ended(name, within_s=10)
    await stage.fleet.start_again(*names)  # all at once: the fleet is ready when all of it is


SCENES = [
    Scene(
        name="worker killed",
        what="kill -9 under its calls",
        play=kill,
        rounds=8,
        counts_gap=True,
    ),
    Scene(
        name="worker frozen",
        what="SIGSTOP, and its watchdog kills it",
        play=freeze_watched,
        rounds=2,
        quick_paths=("relayed",),
        needs_settings=("SFVOPI_WATCHDOG_S",),
    ),
    Scene(
        name="worker frozen, no watchdog",
        what="SIGSTOP for 20 s (quick: 6 s), then SIGCONT",
        play=freeze_unwatched,
        calls=8,
        quick_paths=("direct",),
        needs_settings=("SFVOPI_WATCHDOG_S",),
    ),
    Scene(
        name="workers drained in turn",
        what="SIGTERM to each, with replacement",
        play=drain_in_turn,
        calls=8,
        rounds=2,
        quick_paths=("relayed",),
    ),
    Scene(
        name="rolling restart",
        what="every process, one after another, under load",
        play=rolling_restart,
        calls=6,
        quick_paths=("direct",),
        needs=("gateways",),
    ),
    Scene(
        name="clock off",
        what="one worker 5 min ahead, one gateway 5 min behind; then a worker is killed",
        play=clock_off,
        calls=8,
        quick_paths=("relayed",),
    ),
]
