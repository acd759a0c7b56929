"""Gateways and nginx die and come again."""

import asyncio
import signal

from shared.carrier.plan import Knobs
from tests.chaos.caller import Manner
from tests.chaos.scenes.scene import Scale, Scene
from tests.chaos.stage import Stage

COMES_BACK = Knobs(reconnects=20, reconnect_after_s=0.5)


def patient() -> tuple[Manner, Manner]:
    """Callers of a carrier that reconnects until it gets through."""
    return Manner(knobs=COMES_BACK), Manner(knobs=COMES_BACK, hears_story=True)


async def kill_gateway(stage: Stage, scale: Scale) -> None:
    """Relayed streams break and the carrier comes back; direct ones notice nothing."""
    name = stage.fleet.gateway_names[0]
    async with stage.calls(scale.calls, patient()) as callers:
        stage.fleet.signal(name, signal.SIGKILL)
        stage.say(f"SIGKILL to {name}")
        await stage.fleet.until_ended(name, within_s=5)
        await stage.fleet.start_again(name)
        await stage.settle(2)
    if stage.fleet.path == "direct":
        noticed = [caller for caller in callers if caller.report.reconnects]
        stage.expect(not noticed, f"{len(noticed)} direct streams broke with a gateway")


async def kill_nginx(stage: Stage, scale: Scale) -> None:
    async with stage.calls(scale.calls, patient()):
        stage.fleet.signal("nginx", signal.SIGKILL)
        stage.say("SIGKILL to nginx")
        await stage.fleet.until_ended("nginx", within_s=5)
        await stage.fleet.start_again("nginx")
        await stage.settle(2)


async def reload_nginx(stage: Stage, scale: Scale) -> None:
    """SIGHUP: open streams live on in the old nginx workers, new ones are taken by the new."""
    async with stage.calls(scale.calls, patient()) as callers:
        stage.fleet.signal("nginx", signal.SIGHUP)
        await asyncio.sleep(1)
        late = [stage.place(Manner()) for _ in range(2)]
        await stage.until(lambda: all(c.is_at_gate or c.has_ended for c in late), 20)
    noticed = [caller for caller in callers if caller.report.reconnects]
    stage.expect(not noticed, f"{len(noticed)} streams broke at a reload")


SCENES = [
    Scene(
        name="gateway killed",
        what="kill -9, and another one is started",
        play=kill_gateway,
        rounds=3,
        quick_paths=("relayed",),
    ),
    Scene(
        name="nginx killed",
        what="kill -9, and started again",
        play=kill_nginx,
        rounds=3,
        paths=("direct",),
        quick_paths=("direct",),
    ),
    Scene(
        name="nginx reloaded",
        what="SIGHUP under calls",
        play=reload_nginx,
        calls=6,
        paths=("direct",),
        quick_paths=("direct",),
    ),
]
