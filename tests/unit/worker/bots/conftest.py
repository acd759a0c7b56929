"""Telephone calls with a real bot in a real worker: a caller who speaks, and what is heard of the bot.

Callers speak in real time on one event loop: such tests run beside others, never beside each other.
"""

import asyncio
import audioop
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import websockets

from shared.sfvopi.formats import PCMA_8K
from shared.sfvopi.messages import MediaReceived
from shared.sfvopi.render import render_event
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import heard_voices
from worker.bot_loader import BotLoader

LEAD_S = 0.25  # how long the carrier still plays when a checkpoint reaches it


class Caller:
    """Speaks in real time; silence when there is nothing to say. Acknowledges checkpoints as a carrier does."""

    def __init__(self, carrier: Any) -> None:
        self.carrier = carrier
        self._to_say = bytearray()
        self._tasks = [asyncio.create_task(self._talk()), asyncio.create_task(self._acknowledge())]

    async def say(self, pcm: bytes) -> None:
        """Say it, and return when the last of it was sent."""
        self._to_say += audioop.lin2alaw(pcm, 2)
        await self.until(lambda: not self._to_say)

    @property
    def heard(self) -> bytes:
        """All audio that was sent to the caller, as PCM."""
        payloads = (base64.b64decode(sent["media"]["payload"]) for sent in self.carrier.events("playAudio"))
        return audioop.alaw2lin(b"".join(payloads), 2)

    @property
    def heard_s(self) -> float:
        return len(self.heard) / 16000

    def voices(self, since_s: float = 0) -> dict[int, float]:
        """Seconds of each voice of the fake provider, from this second on."""
        return heard_voices(self.heard[int(since_s * 8000) * 2 :])

    def checkpoints(self) -> list[str]:
        return [sent["name"] for sent in self.carrier.events("checkpoint")]

    async def until(self, is_so: Callable[[], Any], seconds: float = 10, every_s: float = 0.01) -> None:
        async with asyncio.timeout(seconds):
            while not is_so():
                await asyncio.sleep(every_s)

    async def until_quiet(self, seconds: float = 0.6) -> None:
        """Until the bot has sent nothing for a while."""
        before = -1.0
        while before != self.heard_s:
            before = self.heard_s
            await asyncio.sleep(seconds)

    async def hang_up(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _talk(self) -> None:
        next_at = asyncio.get_running_loop().time()
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                frame = bytes(self._to_say[:160]).ljust(160, b"\xd5")
                del self._to_say[:160]
                await self.carrier.send(render_event(MediaReceived(frame, PCMA_8K, "S1")))
                next_at += 0.02
                await asyncio.sleep(next_at - asyncio.get_running_loop().time())

    async def _acknowledge(self) -> None:
        done = 0
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await self.until(lambda done=done: len(self.checkpoints()) > done, 600)  # type: ignore[misc]
                await asyncio.sleep(LEAD_S)
                await self.carrier.send({"event": "playedStream", "name": self.checkpoints()[done]})
                done += 1


@pytest.fixture
async def fakes(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeProviders]:
    """Fake providers, and an environment that leads to them."""
    async with FakeProviders(stt_s=0.05, llm_s=0.05, tts_s=0.05) as fakes:
        for name, value in fakes.env.items():
            monkeypatch.setenv(name, value)
        yield fakes


@pytest.fixture
async def phone(
    start_worker: Callable[..., Awaitable[Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[Caller]]]:
    """Call a bot by its name; the worker that it runs in is `caller.fleet`."""
    monkeypatch.setenv("SFVOPI_TOKEN_SECRETS", "a secret for tests")
    callers: list[Caller] = []

    async def call(bot: str = "worker.bots.receptionist:bot", **settings: Any) -> Caller:
        # a bot's first call imports a good deal; on a busy machine `start` waits for it
        load = BotLoader().load
        fleet = await start_worker(default_bot=bot, load_bot=load, **{"start_deadline_s": 5, **settings})
        caller = Caller(await fleet.call(bot=bot))
        caller.fleet = fleet  # type: ignore[attr-defined]
        callers.append(caller)
        return caller

    yield call
    for caller in callers:
        await caller.hang_up()
