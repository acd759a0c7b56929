"""Five hundred answers within a second, asked of real gateways: as many calls are let in as there are slots."""

import asyncio
import time
from collections import Counter
from uuid import uuid4

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from shared.cli.fleet import LocalFleet
from shared.sfvopi.formats import PCMA_8K
from shared.tokens import StreamToken, sign_token

pytestmark = pytest.mark.fleet

ANSWERS, WORKERS, SLOTS = 500, 2, 10
AN_HOUR_MS = 3_600_000


async def test_a_burst_of_answers_lets_in_as_many_calls_as_there_are_slots_and_every_slot_comes_back() -> None:
    call_ids = [f"burst-{uuid4()}" for _ in range(ANSWERS)]
    async with (
        LocalFleet(
            gateways=2, workers=WORKERS, bot="tests.fuzz.bots:listens", env={"SFVOPI_CALLS_PER_WORKER": str(SLOTS)}
        ) as fleet,
        httpx2.AsyncClient(trust_env=False, timeout=20, limits=httpx2.Limits(max_connections=50)) as http,
    ):
        most, is_over = Counter[str](), asyncio.Event()
        watching = asyncio.create_task(watch(fleet, http, most, is_over))
        began = time.monotonic()
        asked = [asyncio.create_task(ask(fleet, http, call_id, n / ANSWERS)) for n, call_id in enumerate(call_ids)]
        answers = await asyncio.gather(*asked)
        took_s = time.monotonic() - began
        placed = [url for status, url in answers if status == 200]
        assert Counter(status for status, _ in answers) == {200: WORKERS * SLOTS, 503: ANSWERS - WORKERS * SLOTS}
        assert took_s < 10

        # and streams of callers who were refused, in the names of both workers, at the same time
        refused = [call_id for call_id, (status, _) in zip(call_ids, answers, strict=True) if status == 503]
        uninvited = [forged(fleet, call_id, f"worker-{n % 2 + 1}") for n, call_id in enumerate(refused[:40])]
        streams = await asyncio.gather(*(open_stream(url) for url in [*placed, *uninvited]))
        assert all(streams[: len(placed)]), "who was let in is let in"
        assert not any(streams[len(placed) :])
        await asyncio.sleep(2)
        is_over.set()
        await watching
        assert max(most.values()) == SLOTS, most
        assert (await fleet.api.fleet())["used"] == WORKERS * SLOTS

        for stream in streams:
            if stream is not None:
                await stream.close()
        for call_id in call_ids:
            await http.post(fleet.hangup_url, json={"call_uuid": call_id, "call_status": "COMPLETED"})
        async with asyncio.timeout(15):
            while (await fleet.api.fleet())["used"]:
                await asyncio.sleep(0.2)


async def ask(fleet: LocalFleet, http: httpx2.AsyncClient, call_id: str, after_s: float) -> tuple[int, str]:
    """One answer webhook: its status, and the stream's URL."""
    await asyncio.sleep(after_s)
    answer = await http.post(fleet.answer_url, json={"call_uuid": call_id, "to": "+918000000001"})
    return answer.status_code, answer.json()["stream"]["url"] if answer.status_code == 200 else ""


def forged(fleet: LocalFleet, call_id: str, worker_id: str) -> str:
    """A stream's URL as a gateway makes it, with no slot behind it."""
    later = time.time_ns() // 1_000_000 + AN_HOUR_MS
    token = StreamToken(call_id, worker_id, PCMA_8K, later, later)
    return f"ws://127.0.0.1:{fleet.port}/ws/{sign_token(token, fleet.token_secret)}"


async def open_stream(url: str) -> ClientConnection | None:
    """A stream that says `start`; None when it was refused."""
    try:
        stream = await connect(url, proxy=None, compression=None, open_timeout=20)
    except InvalidStatus:
        return None
    await stream.send('{"event":"start","streamId":"S","callId":"c"}')
    return stream


async def watch(fleet: LocalFleet, http: httpx2.AsyncClient, most: Counter[str], is_over: asyncio.Event) -> None:
    """The most living sessions that each worker ever had, by its own word."""
    headers = {"Authorization": f"Bearer {fleet.api_token}"}
    addresses = {worker["worker_id"]: worker["address"] for worker in await fleet.api.workers()}
    while not is_over.is_set():
        for worker_id, address in addresses.items():
            told = (await http.get(f"http://{address}/sessions", headers=headers)).json()["sessions"]
            most[worker_id] = max(most[worker_id], sum(not session["ending"] for session in told))
        await asyncio.sleep(0.05)
