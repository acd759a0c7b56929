"""What a worker died of, into the registry, by its watchdog: the one that is left.

What it needs is imported when the child is dead, or has been silent for a while, and not before: a watchdog lives
beside each worker, and is small. It takes a quarter of a second, for which calls that may be the culprits wait.
"""

import sys
import time
from types import ModuleType

from shared.fleet.death import DeathCause, DeathNote
from shared.process.watchdog import Death, log

GIVEN_UP_S = 1.5  # Redis is away: this worker's start is not kept waiting


def tell(death: Death) -> None:
    """Write the note. A worker that left in good order has written its own; one that never began has none."""
    if death.cause is DeathCause.ENDED or not death.told.get("worker_id"):
        return
    import asyncio

    try:
        prepare()
        asyncio.run(asyncio.wait_for(_write(death), GIVEN_UP_S))
    except Exception as error:  # it is written in vain: calls are judged without it
        log("the death note could not be written", reason=type(error).__name__)


def prepare() -> None:
    """Import what `tell` needs."""
    # Redis' client wants it for the tokens of one cloud: a tenth of a second
    sys.modules.setdefault("jwt", ModuleType("jwt"))
    import shared.registry  # noqa: F401


async def _write(death: Death) -> None:
    from shared.registry import open_registry
    from shared.registry.blame import convict_if_over

    told = death.told
    registry = open_registry(str(told["redis_url"]))
    try:
        await registry.sync_clock()
        note = DeathNote(
            worker_id=str(told["worker_id"]),
            started_at_ms=int(told["started_at_ms"]),
            at_ms=registry.now_ms() - round(1000 * (time.time() - death.at)),
            cause=death.cause,
            call_id=str(told.get("call_id", "")),
            bot=str(told.get("bot", "")),
            detail=death.detail,
        )
        await registry.record_death(note)
        await convict_if_over(registry, note)
    finally:
        await registry.close()
