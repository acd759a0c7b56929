"""Which bots this worker can run: each is loaded and rehearsed before the first call, and what failed gets none.

A bot that fails by its own code or settings is *failed*: with SFVOPI_REHEARSAL=require its calls go elsewhere, and a
worker that has no other bot is not ready. With warn it is told, and gets its calls. A bot that cannot be imported can
never run, whatever the setting. A provider that was away is a warning: the bot gets its calls, and is rehearsed again
until the provider is back.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from shared.settings import Numbers, Rehearsal
from shared.telemetry.catalogue import BOT_FAILED, BOT_WAITS_FOR_PROVIDER
from shared.telemetry.health import Health
from shared.telemetry.logs import get_logger, redact
from shared.telemetry.meter import Meter
from shared.telemetry.traces import Tracer
from worker.bot_loader import Bot, BotNotFound
from worker.rehearsal import Rehearsed, Verdict, rehearse

SIDE_BY_SIDE = 4  # rehearsals: each holds a pipeline with its models and connections
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0  # between rehearsals with a provider that is away


class PreparedBots:
    """The bots of this worker's settings. `changed` is called when the fleet should hear of it."""

    def __init__(
        self,
        numbers: Numbers,
        mode: Rehearsal,
        meter: Meter,
        health: Health,
        load: Callable[[str], Bot],  # raises BotNotFound
        look_after: Callable[[str], None],  # what of the process a bot has changed is put right
        tracer: Tracer,
        worker_id: str,
        changed: Callable[[], None],
    ) -> None:
        self.rehearsals: list[Rehearsed] = []  # the last of each bot
        self._plans = {plan.bot: plan for plan in [numbers.default, *numbers.by_number.values()]}
        self._names = numbers.bots
        self._mode = mode
        self._meter = meter
        self._health = health
        self._load = load
        self._look_after = look_after
        self._tracer = tracer
        self._worker_id = worker_id
        self._changed = changed
        self._bots: dict[str, Bot] = {}
        self._failed: dict[str, str] = {}  # why a bot gets no calls here
        self._log = get_logger(__name__)

    async def prepare(self) -> None:
        """Load and rehearse all of them."""
        for name in self._names:
            try:
                self._bots[name] = self._load(name)
            except BotNotFound as error:
                self._failed[name] = str(error)
                self._log.error("bot not found", bot=name, reason=str(error))
        if self._mode is not Rehearsal.OFF:
            self.rehearsals = await self._rehearse(list(self._bots))
        self._tell()

    async def keep_rehearsing(self) -> None:
        """A side task: those whose provider was away, with growing pauses, until it is back."""
        pause_s = FIRST_PAUSE_S
        while away := [done.bot for done in self.rehearsals if done.verdict is Verdict.AWAY]:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            again = {done.bot: done for done in await self._rehearse(away)}
            self.rehearsals = [again.get(done.bot, done) for done in self.rehearsals]
            self._tell()
            self._changed()
        await asyncio.Event().wait()  # a side task that ends has died

    # -- what it comes to

    @property
    def listed(self) -> tuple[str, ...] | None:
        """The bots whose calls may come here; None: any."""
        return tuple(name for name in self._names if name not in self._failed) if self._failed else None

    @property
    def loaded(self) -> set[str]:
        return set(self._bots)

    def can_run(self, name: str) -> bool:
        """Whether calls of this bot may come here. One that only the gateways' settings name is tried."""
        return name not in self._failed

    async def get(self, name: str) -> Bot:
        """A bot for a call; loaded now if it is one that only the gateways' settings name. Raises `BotNotFound`.

        Such a one is imported in a thread, for an import can take seconds in which no call would be heard.
        """
        if name not in self._bots:
            self._bots[name] = await asyncio.to_thread(self._load, name)
        return self._bots[name]

    def details(self) -> dict[str, Any]:
        """For `/readyz`: each bot that cannot run, with the reason; whose provider is away; what else was seen."""
        away = {done.bot: redact(done.fault) for done in self.rehearsals if done.verdict is Verdict.AWAY}
        remarks = {done.bot: [redact(one) for one in done.remarks] for done in self.rehearsals if done.remarks}
        return {
            "bot_failed": {name: redact(reason) for name, reason in self._failed.items()},
            "provider_away": away,
            "bot_remarks": remarks,
        }

    # -- how it comes to it

    async def _rehearse(self, names: Sequence[str]) -> list[Rehearsed]:
        """Side by side, in the order of their names."""
        few = asyncio.Semaphore(SIDE_BY_SIDE)

        async def one(name: str) -> Rehearsed:
            async with few:
                span = self._tracer.begin("rehearsal")
                span.tell(bot=name, worker_id=self._worker_id)
                done = await rehearse(name, self._bots[name], self._plans[name], span)
                self._look_after(name)
                span.end()
                return done

        return list(await asyncio.gather(*(one(name) for name in names)))

    def _tell(self) -> None:
        """Health, metrics and the list follow from the last rehearsals."""
        if self._mode is Rehearsal.REQUIRE:
            self._failed |= {done.bot: done.fault for done in self.rehearsals if done.verdict is Verdict.FAILED}
        self._health.bot_failed = self._failed.keys() >= set(self._names)
        away = {done.bot for done in self.rehearsals if done.verdict is Verdict.AWAY}
        for name in self._names:
            self._meter.set(BOT_FAILED, name in self._failed, bot=self._meter.name_of("bot", name))
            self._meter.set(BOT_WAITS_FOR_PROVIDER, name in away, bot=self._meter.name_of("bot", name))
