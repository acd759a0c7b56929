"""What a call that killed its workers means for its bot: it counts against the build that did it.

A call that lives is judged by a gateway, with its second death. One that is over when its bot kills a worker (in work
after the call, or its caller hung up in the silence) has no second attempt: its one death counts.
"""

from collections import Counter
from collections.abc import Sequence

from shared.fleet.death import DeathNote
from shared.registry.contract import Registry


async def convict(registry: Registry, call_id: str, bot: str, outlived: Sequence[str]) -> None:
    """This call has killed these workers: it counts against the build of its bot that the last of them had.

    Of a worker that is gone from the registry by now, the build that most have is taken. Raises `RegistryAway`.
    """
    builds = {view.record.worker_id: view.record.builds.get(bot, "") for view in await registry.workers()}
    of_the_dead = [builds[worker_id] for worker_id in outlived if worker_id in builds]
    most_have = Counter(build for build in builds.values() if build).most_common(1)
    build = of_the_dead[-1] if of_the_dead else most_have[0][0] if most_have else ""
    await registry.convict(call_id, bot, build)


async def convict_if_over(registry: Registry, note: DeathNote) -> None:
    """The call that this death is known to be of, if it is over. Raises `RegistryAway`."""
    if not note.cause.is_own_doing or not note.call_id:
        return
    record = await registry.get(note.call_id)
    if record is not None and record.is_over:
        await convict(registry, note.call_id, note.bot or record.bot, [note.worker_id])
