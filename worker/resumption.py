"""Checkpoints of calls, kept in the registry while they live: saved off the media path, read by the next session.

Whoever kept a call's conversation is a `Keeping` (see `worker/pipeline/conversation.py`); this knows no pipeline.
"""

import asyncio
import base64
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from shared.registry.contract import Registry, RegistryAway
from shared.telemetry.catalogue import CHECKPOINTS, REGISTRY_ERRORS
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from worker.checkpoint import Checkpoint, Unreadable, decode, encode

LOAD_DEADLINE_S = 2.0  # a caller waits meanwhile: silence is forgiven, a bot that has forgotten everything is not
LOAD_AGAIN_S = 0.1
COALESCE_S = 0.1  # what changes within it is saved once
RETRY_S = 1.0
SEALED = "sealed:"  # what follows is encrypted


class Keeping(Protocol):
    """A bot's conversation, as it is now."""

    is_resumed: bool

    def checkpoint(self) -> Checkpoint:
        """What another session needs to go on from here."""

    def is_rewritten(self) -> bool:
        """Whether it is not what it was at the last checkpoint."""


class CheckpointStore:
    """Where checkpoints are kept. Raises nothing: a call goes on without."""

    def __init__(self, registry: Registry, meter: Meter, keys: Sequence[str] = ()) -> None:
        self._registry = registry
        self._meter = meter
        self._seal = MultiFernet([_cipher(key) for key in keys]) if keys else None
        self._log = get_logger(__name__)

    async def save(self, call_id: str, checkpoint: Checkpoint, epoch: int) -> bool:
        """Whether it need not be tried again: it is kept, or the call is not ours any more."""
        try:
            text = encode(checkpoint)
            kept = await self._registry.save_checkpoint(call_id, self._sealed(text), epoch)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            self._meter.count(CHECKPOINTS, result="away")
            return False
        except (TypeError, ValueError) as error:  # what the bot put into it; never its text
            self._log.error("the conversation cannot be kept", call_id=call_id, fault=type(error).__name__)
            self._meter.count(CHECKPOINTS, result="unusable")
            return True
        self._meter.count(CHECKPOINTS, result="kept" if kept else "fenced")
        return True

    async def load(self, call_id: str) -> Checkpoint:
        """What was kept last. Raises `Unreadable` with the reason why there is nothing to go on with."""
        try:
            async with asyncio.timeout(LOAD_DEADLINE_S):
                text = await self._ask_until_answered(call_id)
        except TimeoutError:
            raise Unreadable("registry_away") from None
        if text is None:
            raise Unreadable("no_checkpoint")
        return decode(self._opened(text))

    async def _ask_until_answered(self, call_id: str) -> str | None:
        """A worker that takes over a dead one's calls, all at once, may be too busy to hear an answer in time."""
        while True:
            try:
                return await self._registry.load_checkpoint(call_id)
            except RegistryAway:
                self._meter.count(REGISTRY_ERRORS)
                await asyncio.sleep(LOAD_AGAIN_S)

    def _sealed(self, text: str) -> str:
        return SEALED + self._seal.encrypt(text.encode()).decode() if self._seal else text

    def _opened(self, text: str) -> str:
        if not text.startswith(SEALED):
            return text
        if self._seal is None:
            raise Unreadable("unreadable")
        try:
            return self._seal.decrypt(text.removeprefix(SEALED).encode()).decode()
        except InvalidToken:
            raise Unreadable("unreadable") from None


class Keeper:
    """Saves one call's conversation whenever it has changed, while its session runs."""

    def __init__(self, call_id: str, changed: asyncio.Event, epoch: Callable[[], int | None]) -> None:
        self.keeping: Keeping | None = None  # once the bot takes part
        self._call_id = call_id
        self._changed = changed
        self._epoch = epoch

    async def run(self, store: CheckpointStore) -> None:
        """Until cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(COALESCE_S)
            self._changed.clear()
            if not await self.save(store):
                self._changed.set()
                await asyncio.sleep(RETRY_S)

    async def save(self, store: CheckpointStore) -> bool:
        """Now. False if it should be tried again."""
        epoch = self._epoch()
        if self.keeping is None or epoch is None:
            return True
        return await store.save(self._call_id, self.keeping.checkpoint(), epoch)


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _cipher(key: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest()))
