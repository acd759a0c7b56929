"""Until when the certificate at PUBLIC_WSS_URL is good, as housekeeping sees it."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from tests.monitoring.expiring import tls_server
from tests.redis_server import free_port
from worker.housekeeping.certificate import expires_at


@pytest.mark.parametrize("good_for", [timedelta(days=3), timedelta(days=-3)])
async def test_a_certificate_is_read_whether_it_is_still_good_or_not(good_for: timedelta, tmp_path: Path) -> None:
    async with tls_server(tmp_path, good_for) as url:
        until = await expires_at(url)
    assert until == pytest.approx(time.time() + good_for.total_seconds(), abs=60)


async def test_what_cannot_be_looked_at_is_not_known() -> None:
    for url in ("", "ws://127.0.0.1:1/ws", f"wss://127.0.0.1:{free_port()}/ws"):
        assert await expires_at(url) is None
