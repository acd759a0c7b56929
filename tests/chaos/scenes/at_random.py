"""All faults at random, one after another, under calls that come all the time."""

import asyncio
import signal
import time
from collections import Counter

from shared.carrier.plan import Knobs
from tests.chaos.caller import Manner
from tests.chaos.scenes.gateways import COMES_BACK
from tests.chaos.scenes.scene import Scale, Scene
from tests.chaos.scenes.strangers import flood, make_tokens
from tests.chaos.stage import Stage

LIVE = 7  # at any moment: less than a worker's slots less one, so that one of two workers can carry them
PAUSE_S = (2.0, 6.0)
OUTAGE_S = 3.0
KNOBS = [
    COMES_BACK,
    COMES_BACK,
    Knobs(reconnects=20, new_stream_id=True),
    Knobs(reconnects=20, hangup="doubled"),
    Knobs(reconnects=20, hangup_first=True),
    Knobs(reconnects=20, drop_socket_at_s=5.0),
]


async def everything(stage: Stage, scale: Scale) -> None:
    stage.open_gate()
    until = time.monotonic() + scale.seconds
    faults = asyncio.create_task(do_harm(stage, until))
    while time.monotonic() < until:
        live = sum(not caller.has_ended for caller in stage.result.callers)
        if live < LIVE:
            stage.place(Manner(knobs=stage.rng.choice(KNOBS), tries=4, asks=2, asks_twice=stage.rng.random() < 0.2))
        await asyncio.sleep(0.4)
    done = await faults
    await stage.everybody_leaves()
    stage.note(faults=dict(done))


async def do_harm(stage: Stage, until: float) -> Counter[str]:
    """One fault after another; the next one comes when the fleet is whole again."""
    done: Counter[str] = Counter()
    while True:
        await asyncio.sleep(stage.rng.uniform(*PAUSE_S))
        if time.monotonic() > until:
            return done
        harms = [name for name in HARMS if name not in OF_NGINX or stage.fleet.path == "direct"]
        fewest = min(done[name] for name in harms)
        name = stage.rng.choice([name for name in harms if done[name] == fewest])
        stage.say(f"at random: {name}")
        await HARMS[name](stage)
        await stage.fleet.heal()
        done[name] += 1


async def kill_worker(stage: Stage) -> None:
    name, _ = await stage.hit_worker(signal.SIGKILL)
    await stage.fleet.until_ended(name, 10)
    await asyncio.sleep(2)


async def freeze_worker(stage: Stage) -> None:
    """For longer than a watchdog allows; without one it wakes by itself."""
    name, _ = await stage.hit_worker(signal.SIGSTOP)
    await stage.fleet.until_ended(name, 8)
    stage.fleet.signal(name, signal.SIGCONT)
    await asyncio.sleep(2)


async def drain_worker(stage: Stage) -> None:
    name = stage.rng.choice(stage.fleet.fleet.worker_names)
    stage.fleet.signal(name, signal.SIGTERM)
    await stage.fleet.until_ended(name, 60)


async def kill_gateway(stage: Stage) -> None:
    name = stage.rng.choice(stage.fleet.gateway_names)
    stage.fleet.signal(name, signal.SIGKILL)
    await stage.fleet.until_ended(name, 5)


async def kill_nginx(stage: Stage) -> None:
    stage.fleet.signal("nginx", signal.SIGKILL)
    await stage.fleet.until_ended("nginx", 5)


async def reload_nginx(stage: Stage) -> None:
    stage.fleet.signal("nginx", signal.SIGHUP)
    await asyncio.sleep(2)


async def let_strangers_try(stage: Stage) -> None:
    key = "a-key-of-a-strangers-own"
    forged = make_tokens(key, ["one-call", "another"], "ended", {})
    statuses = await flood(stage, forged * 10)
    stage.expect(not statuses["101"], f"{statuses['101']} strangers got a stream")


async def freeze_redis(stage: Stage) -> None:
    stage.fleet.redis.freeze()
    await asyncio.sleep(OUTAGE_S)
    stage.fleet.redis.thaw()
    await asyncio.sleep(OUTAGE_S)


async def slow_redis(stage: Stage) -> None:
    stage.fleet.redis.slow_down()
    await asyncio.sleep(OUTAGE_S)
    stage.fleet.redis.speed_up()
    await asyncio.sleep(OUTAGE_S)


async def empty_redis(stage: Stage) -> None:
    await stage.fleet.redis.restart_empty()
    await asyncio.sleep(OUTAGE_S)


async def kill_redis(stage: Stage) -> None:
    await stage.fleet.redis.kill()
    await asyncio.sleep(OUTAGE_S)
    await stage.fleet.redis.start()
    await asyncio.sleep(OUTAGE_S)


HARMS = {
    "worker killed": kill_worker,
    "gateway killed": kill_gateway,
    "Redis frozen": freeze_redis,
    "worker frozen": freeze_worker,
    "Redis restarted empty": empty_redis,
    "nginx killed": kill_nginx,
    "Redis slow": slow_redis,
    "worker drained": drain_worker,
    "Redis killed": kill_redis,
    "nginx reloaded": reload_nginx,
    "bad tokens": let_strangers_try,
}
OF_NGINX = {"nginx killed", "nginx reloaded"}

SCENES = [
    Scene(
        name="at random",
        what="all of these for 10 min (quick: 20 s)",
        play=everything,
        quick_paths=("direct",),
    )
]
