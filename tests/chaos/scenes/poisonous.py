"""Bots that kill their workers, beside calls that do not: only the call of such a bot pays."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Collection
from contextlib import suppress

from shared.fleet.quarantine import CALLS_NEEDED
from tests.chaos.caller import Caller, Knowledge, Manner, Verdict
from tests.chaos.scenes.gateways import COMES_BACK, patient
from tests.chaos.scenes.scene import Scale, Scene
from tests.chaos.shapes import POISONED, POISONED_ALONE, POISONED_WIDE, number_of
from tests.chaos.stage import Stage

HEALTHY = 20
OVER_S = 3.0
JUDGED_WITHIN_S = 45.0  # a loop that stands still is seen after 3 s, and that twice; then the apology
DEATHS_ALLOWED = 2  # of one poisonous call
KILLS = 8
BAD_BOT = "leaves"
IN_TURN = (("crashes",), ("leaves",), ("sleeps",), ("spins",), ("eats",))
MIXED = (("crashes", "spins"), ("sleeps", "sleeps"), ("leaves", "eats"))


async def each_sort(stage: Stage, scale: Scale) -> None:
    """One after another."""
    await play(stage, scale, IN_TURN)


async def two_at_once(stage: Stage, scale: Scale) -> None:
    await play(stage, scale, MIXED)


async def late(stage: Stage, scale: Scale) -> None:
    """Eight seconds into each session: nobody can tell the call by its youth."""
    await play(stage, scale, (("crashes_late",),))


async def one_worker(stage: Stage, scale: Scale) -> None:
    """Its calls wait for it to come again, and for longer than a relay looks for another worker: some may be lost."""
    await play(stage, scale, (("crashes",), ("sleeps",)), can_lose=True)


async def play(stage: Stage, scale: Scale, batches: Collection[Collection[str]], *, can_lose: bool = False) -> None:
    """Healthy calls, and one batch of poisonous ones after another: those of a batch come at the same time."""
    async with stage.fleet.kept_up(stage.say), stage.calls(scale.calls, patient(), over_s=OVER_S) as healthy:
        for batch in batches:
            workers = stage.fleet.shape.workers
            await stage.fleet.until_serving(min(workers, len(batch) + 1) if scale.is_quick else workers)
            await poison(stage, batch)
        await stage.settle(2)
    await expect_resumed(stage, healthy)
    refused = [caller.call_id for caller in healthy if caller.verdict is Verdict.REFUSED]
    stage.expect(not refused, f"{len(refused)} healthy calls were refused")
    if not can_lose:
        lost = [caller.call_id for caller in healthy if caller.verdict is Verdict.DROPPED]
        stage.expect(not lost, f"{len(lost)} healthy calls were lost")


async def poison(stage: Stage, batch: Collection[str]) -> None:
    """Calls to these bots, to their ends; how many workers died of them."""
    before = stage.fleet.starts
    calls = [stage.place(poisonous(bot)) for bot in batch]
    has_ended = await stage.until(lambda: all(call.is_judged for call in calls), JUDGED_WITHIN_S)
    await stage.fleet.until_running()
    deaths = stage.fleet.starts - before
    told = ", ".join(f"{bot}: {call.verdict}" for bot, call in zip(batch, calls, strict=True))
    stage.say(f"{told}; {deaths} workers died")
    stage.expect(has_ended, f"{told}: not over after {JUDGED_WITHIN_S:g} s")
    most = DEATHS_ALLOWED * len(calls)
    stage.expect(deaths <= most, f"{deaths} workers died of {' and '.join(batch)}, at most {most} should")


def poisonous(bot: str) -> Manner:
    """A caller of this bot, whose carrier reconnects."""
    return Manner(knobs=COMES_BACK, dials=number_of(bot), is_poisonous=True)


async def quarantined(stage: Stage, scale: Scale) -> None:
    """Three calls of one bot: the next one is turned away, all others go on, and an operator lets it in again."""
    api, bot = stage.fleet.fleet.api, BAD_BOT
    async with stage.fleet.kept_up(stage.say), stage.calls(scale.calls, patient(), over_s=OVER_S) as healthy:
        for _ in range(CALLS_NEEDED):
            await stage.fleet.until_serving(2)
            await poison(stage, (bot,))
        told = [quarantine["bot"] for quarantine in await api.quarantined()]
        stage.expect(told == [f"tests.chaos.poison:{bot}"], f"quarantined are {told}")
        await turned_away(stage, bot)
        stage.expect(await api.release(f"tests.chaos.poison:{bot}"), f"{bot} was not released")
        await stage.fleet.until_whole()
        await poison(stage, (bot,))
    await expect_resumed(stage, healthy)
    stage.expect(not await api.quarantined(), "a bot is quarantined again for what was forgiven")


async def turned_away(stage: Stage, bot: str) -> None:
    """The next caller hears the busy message, no worker dies, and somebody else is placed."""
    await stage.fleet.until_serving(2)
    before = stage.fleet.starts
    late, other = stage.place(Manner(knobs=COMES_BACK, dials=number_of(bot))), stage.place(patient()[0])
    await stage.until(lambda: late.is_judged and other.is_at_gate, JUDGED_WITHIN_S)
    stage.expect(late.verdict is Verdict.REFUSED, f"a call of the quarantined {bot} was {late.verdict}")
    stage.expect(other.is_at_gate, "a call of another bot was not placed")
    stage.expect(stage.fleet.starts == before, "a worker died of a quarantined bot")


async def killed_from_outside(stage: Stage, scale: Scale) -> None:
    """Working processes and their watchdogs, by turns: whoever's calls were there each time, nobody is convicted."""
    async with stage.fleet.kept_up(stage.say), stage.calls(scale.calls, patient(), over_s=OVER_S) as callers:
        for number in range(KILLS):
            name = await stage.busiest_worker()
            if number % 2:
                kill_watchdog(stage, name)
            else:
                stage.fleet.signal(name, signal.SIGKILL)
            stage.say(f"kill -9 of {'the watchdog of ' if number % 2 else ''}{name}")
            await asyncio.sleep(stage.rng.uniform(0.5, 3))
            await stage.fleet.until_serving(2)
        await stage.settle(2)
    await expect_resumed(stage, callers)
    records = await stage.fleet.calls()
    reasons = Counter(records[caller.call_id]["reason"] for caller in callers if caller.call_id in records)
    stage.expect(not reasons["poisonous"], f"{reasons['poisonous']} calls were convicted of kills from outside")


def kill_watchdog(stage: Stage, name: str) -> None:
    """Its child dies with it; nobody is left to say of what."""
    with suppress(ProcessLookupError):
        os.kill(stage.fleet.fleet.children[name].pid, signal.SIGKILL)


async def expect_resumed(stage: Stage, callers: list[Caller]) -> None:
    """Every call whose worker died knows what was said before."""
    records = await stage.fleet.calls()
    hit = [caller for caller in callers if records.get(caller.call_id, {}).get("attachments", 0) > 1]
    afresh = [caller for caller in hit if Knowledge.STRANGE in caller.heard]
    stage.note(healthy_calls_hit=stage.result.notes.get("healthy_calls_hit", 0) + len(hit))
    why = Counter([reason for caller in afresh for reason in await stage.fleet.why_afresh(caller.call_id)])
    stage.expect(not afresh, f"{len(afresh)} of {len(hit)} calls that were hit lost their conversation: {dict(why)}")


SCENES = [
    Scene(
        name="poisonous",
        what="bots that crash, exit, block, spin or eat memory, beside 20 healthy calls on 3 workers",
        play=each_sort,
        calls=HEALTHY,
        shape=POISONED,
    ),
    Scene(
        name="poisonous, two at once",
        what="two such calls at the same time, of two sorts and of one",
        play=two_at_once,
        calls=HEALTHY,
        shape=POISONED_WIDE,
        quick_paths=(),
    ),
    Scene(
        name="poisonous, late",
        what="a bot that crashes 8 s into each of its sessions",
        play=late,
        calls=HEALTHY,
        shape=POISONED,
        quick_paths=(),
    ),
    Scene(
        name="poisonous, one worker",
        what="the same with a single worker, which has to come again each time",
        play=one_worker,
        calls=6,
        shape=POISONED_ALONE,
        quick_paths=(),
    ),
    Scene(
        name="bot quarantined",
        what="three calls of one bot kill their workers: its next one is turned away, until it is released",
        play=quarantined,
        calls=8,
        shape=POISONED,
        quick_paths=(),
    ),
    Scene(
        name="killed from outside",
        what="eight workers, half of them with their watchdogs: nobody is convicted",
        play=killed_from_outside,
        calls=HEALTHY,
        shape=POISONED,
        quick_paths=("relayed",),
    ),
]
