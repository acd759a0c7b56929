"""Which bots are quarantined, as this gateway has last heard: for its metrics, its line, and answers without registry.

The registry itself keeps their calls from workers (`reserve`), so nothing here is asked before a call is placed.
"""

from collections.abc import Iterable, Sequence

from shared.fleet.quarantine import NONE, Quarantine, Quarantines, is_in_force, open_to
from shared.fleet.worker import WorkerState, WorkerView
from shared.settings import Numbers
from shared.telemetry.catalogue import BOT_QUARANTINED, OTHER
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter

REMEDY = "deploy a bot without the fault, or `sfvopi release BOT`"


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
