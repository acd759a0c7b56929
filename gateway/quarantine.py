"""Which bots are quarantined, as this gateway has last heard: for its metrics, its line, and answers without registry.

The registry itself keeps their calls from workers (`reserve`), so nothing here is asked before a call is placed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from shared.fleet.quarantine import NONE, Quarantine, Quarantines, is_in_force, open_to
from shared.fleet.worker import WorkerState, WorkerView
from shared.registry import Registry
from shared.settings import Numbers
from shared.telemetry.catalogue import BOT_QUARANTINED, OTHER
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter

REMEDY = "deploy a bot without the fault, or `sfvopi release BOT`"


async def convict(registry: Registry, call_id: str, bot: str, outlived: Sequence[str]) -> None:
    """This call has killed these workers: it counts against the build of its bot that the last of them had.

    Of a worker that is gone from the registry by now, the build that most have is taken. Raises `RegistryAway`.
    """
    builds = {view.record.worker_id: view.record.builds.get(bot, "") for view in await registry.workers()}
    of_the_dead = [builds[worker_id] for worker_id in outlived if worker_id in builds]
    most_have = Counter(build for build in builds.values() if build).most_common(1)
    build = of_the_dead[-1] if of_the_dead else most_have[0][0] if most_have else ""
    await registry.convict(call_id, bot, build)


class KnownQuarantines:
    """Learned with every heartbeat."""

    def __init__(self, numbers: Numbers, meter: Meter) -> None:
        self._bots = numbers.bots
        self._meter = meter
        self._barred: frozenset[str] = frozenset()
        self.by_bot: Quarantines = NONE
        """Those that are in force: a worker has the build."""
        self._log = get_logger(__name__)
        self._show()

    def learn(self, told: Iterable[Quarantine], workers: Sequence[WorkerView], now_ms: int) -> None:
        """The truth as it is now."""
        before = self.by_bot
        self.by_bot = {one.bot: one for one in told if is_in_force(one, workers, now_ms)}
        self._barred = frozenset(bot for bot in self.by_bot if not self._is_taken(bot, workers, now_ms))
        for bot in self.by_bot.keys() - before.keys():
            calls = list(self.by_bot[bot].calls)
            self._log.error("bot is quarantined: its calls kill workers", bot=bot, call_ids=calls, remedy=REMEDY)
        for bot in before.keys() - self.by_bot.keys():
            self._log.info("bot is quarantined no longer", bot=bot)
        self._show()

    def bars(self, bot: str) -> bool:
        """Whether no worker takes new calls of this bot, however few it has: waiting is of no use."""
        return bot in self._barred

    def _is_taken(self, bot: str, workers: Sequence[WorkerView], now_ms: int) -> bool:
        able = open_to(bot, workers, self.by_bot, now_ms)
        return any(w.is_fresh(now_ms) and w.record.state is WorkerState.SERVING and w.record.can_run(bot) for w in able)

    def _show(self) -> None:
        quarantined = {self._meter.name_of("bot", bot) for bot in self.by_bot}
        for label in {*self._bots, *OTHER}:
            self._meter.set(BOT_QUARANTINED, label in quarantined, bot=label)
