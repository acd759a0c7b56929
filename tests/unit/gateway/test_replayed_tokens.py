"""A good token in other hands: replayed beside a living stream, raced, and with clocks that are off."""

import asyncio
from typing import Any

from gateway.admission import Admission
from gateway.local_admission import LocalAdmission
from gateway.notebook import Notebook
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.registry import RedisRegistry
from shared.registry.contract import wall_clock_ms
from shared.settings import GatewaySettings, Numbers
from shared.sfvopi.webhooks import AnswerWebhook
from shared.telemetry.meter import Meter
from shared.tokens import verify_token
from tests.conftest import empty

FIVE_MINUTES_MS = 300_000


async def test_a_worker_that_refuses_a_second_stream_has_the_last_word(house: Any) -> None:
    """403 is no 503: nobody else is asked, or the replayed stream would get a session of its own."""
    worker, other = await house.start_worker("w1"), await house.start_worker("w2")
    url = (await house.answer("c-1")).url
    async with house.connect(url) as first:
        worker.refuse_with = 403
        assert await asyncio.gather(*(house.status_of(url) for _ in range(5))) == [403] * 5
        assert first.close_code is None
        assert (len(worker.streams), len(other.streams)) == (1, 0)
    assert house.metric("sfvopi_reattachments_total", result="attached") == 0


async def test_a_replayed_token_moves_no_live_call_while_its_worker_drains_or_is_silent(house: Any) -> None:
    worker, other = await house.start_worker("w1"), await house.start_worker("w2")
    url = (await house.answer("c-1")).url
    async with house.connect(url):
        worker.refuse_with = 403
        await worker.beat(10, lease_ms=0)
        assert await house.status_of(url) == 403
        assert other.streams == []
        assert (await house.registry.get("c-1")).worker_id == "w1"


def skewed(url: str, off_ms: int) -> RedisRegistry:
    return RedisRegistry.connect(url, clock=lambda: wall_clock_ms() + off_ms, command_timeout_s=5, connect_timeout_s=5)


async def test_processes_whose_clocks_are_ten_minutes_apart_agree_on_tokens_and_deadlines(redis_url: str) -> None:
    await empty(redis_url)
    ahead, behind = skewed(redis_url, FIVE_MINUTES_MS), skewed(redis_url, -FIVE_MINUTES_MS)
    try:
        await ahead.sync_clock()
        await behind.sync_clock()
        assert abs(ahead.now_ms() - behind.now_ms()) < 1_000
        await behind.heartbeat(WorkerRecord("w1", "127.0.0.1:1", WorkerState.SERVING, 1), [], 5_000)
        settings = GatewaySettings(
            public_wss_url="ws://localhost/ws", token_secrets="a secret for tests", max_call_s=1, attach_by_s=2
        )
        meter = Meter("gateway")
        local = LocalAdmission(ahead, Notebook(ahead, "gateway:g", meter))
        admission = Admission(ahead, settings, Numbers.read(settings), meter, local)
        admitted = await admission.admit(AnswerWebhook("c-1"), is_fallback=False)
        assert admitted.answer, "its lease is as long for the one as for the other"
        token = verify_token(admitted.answer.url.rsplit("/", 1)[1], settings.token_keys, behind.now_ms())
        known_to_ms = 10  # each of the two knows Redis' time to some milliseconds
        assert 0 < token.attach_by_ms - behind.now_ms() <= 2_000 + known_to_ms
    finally:
        await ahead.close()
        await behind.close()
