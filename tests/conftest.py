"""Fixtures that tests of every room use."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from shared.registry import MemoryRegistry, RedisRegistry, Registry
from tests.redis_server import RedisServer


class Clock:
    """A clock that goes only when it is told to. Unix ms."""

    def __init__(self, at_ms: int = 1_800_000_000_000) -> None:
        self.at_ms = at_ms

    def __call__(self) -> int:
        return self.at_ms

    def forward(self, ms: int) -> None:
        self.at_ms += ms


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The session's own Redis; whoever wants to stop one starts another (`RedisServer(tmp_path)`)."""
    server = RedisServer(Path(tmp_path_factory.mktemp("redis", numbered=True)))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "redis"])
async def registry(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Registry]:
    """An empty registry of each kind, on the test's `clock`."""
    opened = await _open(request, clock)
    yield opened
    await opened.close()


@pytest.fixture(params=["memory", "redis"])
async def settling(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Registry]:
    """The same, and for a second after its start without data it places nothing."""
    opened = await _open(request, clock, settle_ms=1_000)
    yield opened
    await opened.close()


async def _open(request: pytest.FixtureRequest, clock: Clock, settle_ms: int = 0) -> Registry:
    if request.param == "memory":
        return MemoryRegistry(clock=clock, settle_ms=settle_ms)
    url = request.getfixturevalue("redis_url")
    await empty(url)
    patient = {"command_timeout_s": 5, "connect_timeout_s": 5, "wait_s": 5}  # other tests take the cores at times
    return RedisRegistry.connect(url, clock=clock, settle_ms=settle_ms, **patient)


async def empty(url: str) -> None:
    """Forget all that a Redis holds."""
    client = Redis.from_url(url)
    await client.flushall()
    await client.aclose()
