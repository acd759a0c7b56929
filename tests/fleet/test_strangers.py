"""Strangers and hostile carriers against real processes: nothing crashes, leaks, or is given away."""

import asyncio
import contextlib
import random
from uuid import uuid4

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.protocol import State

from shared.cli.fleet import LocalFleet
from tests.chaos.log_search import search
from tests.fuzz.messages import KINDS, messages
from tests.fuzz.run import fuzz

pytestmark = pytest.mark.fleet

MESSAGES = 5_000  # `make fuzz` sends 100,000
SECRET, CALLER, CALLED = "a-secret-of-the-webhooks-4712", "+919812340000", "+918000000009"


def test_the_same_seed_says_the_same() -> None:
    first, second = (messages(random.Random(5)) for _ in range(2))
    assert [next(first) for _ in range(500)] == [next(second) for _ in range(500)]
    assert len({kind(random.Random(1)) if not isinstance(kind(random.Random(1)), list) else "" for kind in KINDS}) > 10


@pytest.mark.timeout(240)
async def test_five_thousand_hostile_messages_do_no_harm() -> None:
    report = await fuzz(MESSAGES, seed=7)
    assert report["faults"] == []
    assert report["messages"] >= MESSAGES
    assert report["good_calls"] >= 1


async def test_of_many_streams_with_one_token_at_once_one_is_served_and_no_log_gives_anything_away() -> None:
    call_id = f"raced-{uuid4()}"
    async with (
        LocalFleet(workers=2, bot="tests.fuzz.bots:listens", webhook_secret=SECRET) as fleet,
        httpx2.AsyncClient(trust_env=False) as http,
    ):
        fields = {"call_uuid": call_id, "from": CALLER, "to": CALLED, "direction": "INBOUND"}
        url = (await http.post(fleet.answer_url, json=fields)).json()["stream"]["url"]
        streams = await asyncio.gather(*(open_stream(url) for _ in range(12)))
        await asyncio.sleep(0.5)
        living = [stream for stream in streams if stream is not None and stream.state is State.OPEN]
        assert len(living) == 1
        sessions = await sessions_of(fleet, http)
        assert sum(len(of_worker) for of_worker in sessions.values()) == 1, sessions
        assert (await fleet.api.fleet())["used"] == 1

        async with asyncio.timeout(10):  # and replayed while it lives
            talking = asyncio.create_task(talk(living[0]))
            assert await asyncio.gather(*(open_stream(url) for _ in range(6))) == [None] * 6
            talking.cancel()
        assert await sessions_of(fleet, http) == sessions, "the call has not moved"

        await http.get(fleet.public_url + "/ws/" + url.rsplit("/", 1)[1])
        await http.post(fleet.hangup_url, json={**fields, "call_status": "COMPLETED"})
        assert await open_stream(url) is None, "the call is over"
        await living[0].close()
        forged = url[:-3] + ("AAA" if url[-3:] != "AAA" else "BBB")
        assert await open_stream(forged) is None
        secrets = {"token key": fleet.token_secret, "webhook secret": SECRET, "API token": fleet.api_token}
        secrets["the stream's token"] = url.rsplit("/", 1)[1]
        assert search(fleet.folder, secrets, [CALLER, CALLED]) == []


async def open_stream(url: str) -> ClientConnection | None:
    """A stream that says `start` and stays; None when it was refused."""
    try:
        stream = await connect(url, proxy=None, compression=None)
    except InvalidStatus:
        return None
    await stream.send('{"event":"start","streamId":"S","callId":"c"}')
    return stream


async def talk(stream: ClientConnection) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await stream.send('{"event":"media","media":{"payload":"1dXV1dXV1dU="}}')
            await asyncio.sleep(0.02)


async def sessions_of(fleet: LocalFleet, http: httpx2.AsyncClient) -> dict[str, list[str]]:
    """Call ids by worker."""
    headers = {"Authorization": f"Bearer {fleet.api_token}"}
    found = {}
    for worker in await fleet.api.workers():
        told = await http.get(f"http://{worker['address']}/sessions", headers=headers)
        found[worker["worker_id"]] = [session["call_id"] for session in told.json()["sessions"]]
    return found
