"""The Lua files, as scripts of one client. Redis is told them when it does not know them, at their first use."""

from dataclasses import dataclass
from importlib.resources import files

from redis.asyncio import Redis
from redis.commands.core import AsyncScript


@dataclass(frozen=True, slots=True)
class Scripts:
    """One script per file of `lua/`; each file's header says what goes in and what comes back."""

    heartbeat: AsyncScript
    gateway_heartbeat: AsyncScript
    remove_worker: AsyncScript
    workers: AsyncScript
    reserve: AsyncScript
    occupy: AsyncScript
    release: AsyncScript
    join_line: AsyncScript
    keep_line: AsyncScript
    lapsed_slots: AsyncScript
    enqueue_ending: AsyncScript
    close_record: AsyncScript
    move: AsyncScript
    patch: AsyncScript
    save_checkpoint: AsyncScript
    restore: AsyncScript
    note: AsyncScript
    timeline: AsyncScript
    forget: AsyncScript
    convict: AsyncScript
    release_bot: AsyncScript

    @classmethod
    def of(cls, client: Redis) -> "Scripts":
        folder = files(__package__) / "lua"
        return cls(**{name: client.register_script((folder / f"{name}.lua").read_text()) for name in cls.__slots__})
