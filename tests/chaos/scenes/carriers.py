"""The carrier behaves as its documents allow: webhooks lost, late, doubled, early; streams that break; slow reading."""

import asyncio
import signal

from shared.carrier.plan import Knobs, Stall
from tests.chaos.caller import Manner
from tests.chaos.scenes.scene import Scale, Scene
from tests.chaos.stage import Stage

BREAKS_AT_S = 4.0
LOST_HANGUP_S = 60.0

HANGUPS = {
    "lost": Knobs(hangup="lost"),
    "lost, half open": Knobs(hangup="lost", close_how="leave_open", leave_open_s=15),
    "late": Knobs(hangup_late_s=3),
    "doubled": Knobs(hangup="doubled"),
    "before the close": Knobs(hangup_first=True),
}


async def hangups(stage: Stage, scale: Scale) -> None:
    """Whatever becomes of the hangup webhook: one call, one record, slot free within 60 s."""
    stage.slots_free_within_s = LOST_HANGUP_S
    manners = [Manner(knobs=knobs, ends="hangup") for knobs in HANGUPS.values()]
    async with stage.calls(scale.calls, manners) as callers:
        pass
    await one_outcome_each(stage, [caller.call_id for caller in callers])


async def answered_twice(stage: Stage, scale: Scale) -> None:
    """The answer webhook comes at primary and fallback, at once, and again: one call."""
    async with stage.calls(scale.calls, [Manner(asks_twice=True)]) as callers:
        used = (await stage.fleet.fleet_figures()).get("used")
        stage.expect(used == len(callers), f"{len(callers)} calls hold {used} slots")
    await one_outcome_each(stage, [caller.call_id for caller in callers])


async def comes_back(stage: Stage, scale: Scale) -> None:
    """The network breaks under a call, and the carrier reconnects: the session waits for it."""
    same, new = (
        Knobs(drop_socket_at_s=BREAKS_AT_S, reconnect_after_s=0.5, new_stream_id=is_new) for is_new in (False, True)
    )
    silent = Knobs(drop_socket_at_s=BREAKS_AT_S, reconnect_after_s=1.5, drop_how="silent")
    manners = [Manner(knobs=knobs, tries=2) for knobs in (same, new, silent)]
    async with stage.calls(scale.calls, manners) as callers:
        await stage.settle(2)
    calls = await stage.fleet.calls()
    afresh = [c.call_id for c in callers if calls.get(c.call_id, {}).get("afresh")]
    stage.expect(not afresh, f"{len(afresh)} sessions were begun afresh though theirs was there")


async def never_comes_back(stage: Stage, scale: Scale) -> None:
    """What carries the stream dies, and the carrier does not reconnect: lost, and nothing stays behind."""
    gone = Knobs(reconnects=0)
    async with stage.calls(scale.calls, [Manner(knobs=gone, may_be_lost=True)]):
        if stage.fleet.path == "direct":
            name, _ = await stage.hit_worker(signal.SIGKILL)
        else:
            name = stage.fleet.gateway_names[0]
            stage.fleet.signal(name, signal.SIGKILL)
        await stage.fleet.until_ended(name, within_s=5)
        await stage.settle(1)
    await stage.fleet.start_again(name)


async def reads_slowly(stage: Stage, scale: Scale) -> None:
    """Some callers' carriers read nothing for 5 s while the bot speaks; the others must not notice."""
    slow = Manner(knobs=Knobs(reads_nothing=Stall(BREAKS_AT_S, 5.0)), hears_story=True, tries=3)
    async with stage.calls(scale.calls, [slow, Manner()]):
        await stage.settle(5)


async def one_outcome_each(stage: Stage, call_ids: list[str]) -> None:
    """Each call has one record, which is closed with one reason; waits for it as long as slots may take."""
    async with asyncio.timeout(LOST_HANGUP_S + 5):
        while True:
            records = await stage.fleet.calls()
            open_ones = [i for i in call_ids if records.get(i, {}).get("state") != "ended"]
            if not open_ones:
                break
            await asyncio.sleep(0.5)
    outcomes = {record["reason"] for call_id, record in records.items() if call_id in call_ids}
    stage.note(outcomes=sorted(outcomes))


SCENES = [
    Scene(
        name="hangups",
        what="lost, late, doubled, before the close",
        play=hangups,
        calls=10,
        rounds=2,
        quick_paths=("relayed",),
    ),
    Scene(
        name="answered twice",
        what="primary and fallback at once, then again",
        play=answered_twice,
        calls=6,
        rounds=2,
        quick_paths=("direct",),
    ),
    Scene(
        name="carrier reconnects",
        what="with the same stream id, with a new one, from a half-open socket",
        play=comes_back,
        calls=9,
        rounds=2,
        quick_paths=("relayed",),
    ),
    Scene(
        name="carrier never returns",
        what="what carried the stream dies, and nobody reconnects",
        play=never_comes_back,
        calls=6,
        quick_paths=("direct",),
        drops_allowed=True,
    ),
    Scene(
        name="slow consumers",
        what="half the carriers read nothing for 5 s",
        play=reads_slowly,
        calls=8,
        rounds=2,
        quick_paths=("relayed",),
    ),
]
