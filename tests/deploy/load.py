"""Callers who keep calling, so many at once, whatever is done to the fleet meanwhile; judged by what each heard."""

import asyncio
import time
from collections.abc import Iterable

from shared.carrier.plan import Knobs
from shared.cli.fleet.plan import WebhookUrls
from tests.chaos.caller import Caller, Manner, Verdict
from tests.chaos.ledger import SceneResult

# the carrier brings a broken stream again, as long as nginx may take to start
MANNER = Manner(asks=3, tries=4, knobs=Knobs(reconnects=20))


class DeployCaller(Caller):
    """The images' own busy message is speech, no tone: it is known by the status that the answer webhook had."""

    @property
    def is_refused(self) -> bool:
        has_bot = any(voice >= 0 for voice in self.voices)
        return super().is_refused or (self.report.webhook_status == 503 and not has_bot and not self.is_known)


class Load:
    """`at_once` callers; who has ended calls again, until `stop`. `phase` names what is being done to the fleet."""

    def __init__(self, urls: WebhookUrls, at_once: int) -> None:
        self.phase = "calls"
        self.callers: list[Caller] = []
        self._urls = urls
        self._at_once = at_once
        self._is_stopped = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        for voice in range(self._at_once):
            self._tasks.append(asyncio.create_task(self._keep_calling(voice), name=f"caller {voice}"))
            await asyncio.sleep(0.5)

    async def stop(self) -> None:
        """Nobody calls any more; returns when the last one has hung up."""
        self._is_stopped = True
        await asyncio.gather(*self._tasks)

    async def _keep_calling(self, voice: int) -> None:
        while not self._is_stopped:
            caller = DeployCaller(voice, self.phase, "direct", MANNER, lambda: True)
            self.callers.append(caller)
            try:
                await caller.call(self._urls)
            except Exception as error:  # the ledger must not lose a call to a fault of the test's own
                caller.report.errors.append(f"the simulator failed: {error!r}")
            if caller.verdict is not Verdict.COMPLETED:
                await asyncio.sleep(1)

    def live(self, call_ids: Iterable[str]) -> list[Caller]:
        """Who of these is in a call now."""
        known = set(call_ids)
        return [caller for caller in self.callers if caller.call_id in known and not caller.has_ended]

    def mark(self, callers: Iterable[Caller]) -> None:
        """These lose their session now."""
        for caller in callers:
            caller.fault_at_ms = time.time_ns() // 1_000_000

    def results(self, phases: Iterable[str]) -> list[SceneResult]:
        """The ledger, by what was going on when each call began."""
        return [
            SceneResult(phase, "direct", callers=[caller for caller in self.callers if caller.scene == phase])
            for phase in phases
        ]
