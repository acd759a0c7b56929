"""Streams whose token is not good: each gets its status before anything is accepted."""

import asyncio
from typing import Any

import pytest

from shared.calls.state import CallEvent, CallState
from shared.settings import FleetSettings
from shared.sfvopi.formats import PCMA_8K
from shared.tokens import StreamToken, sign_token

HOUR_MS = 3_600_000


def url_for(house: Any, call_id: str, *, secret: str = "the-signing-key", attach_ms: int = 60_000, **times: int) -> str:
    now_ms = house.registry.now_ms()
    valid_ms = times.get("valid_ms", HOUR_MS)
    token = StreamToken(call_id, "w1", PCMA_8K, now_ms + attach_ms, now_ms + valid_ms)
    return f"ws://127.0.0.1:{house.public.port}/ws/{sign_token(token, secret)}"


class Watched:
    """The registry, with every call to it noted."""

    def __init__(self, registry: Any) -> None:
        self._registry = registry
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name != "now_ms":
            self.asked.append(name)
        return getattr(self._registry, name)


@pytest.mark.parametrize("fault", ["forged", "changed", "junk", "empty_parts", "long", "expired", "not_ascii"])
async def test_a_bad_token_gets_401_and_costs_no_registry_call(house: Any, fault: str) -> None:
    await house.start_worker()
    good = (await house.answer("c-1")).url
    base, text = good.rsplit("/", 1)
    bad = {
        "forged": url_for(house, "c-1", secret="another key").rsplit("/", 1)[1],
        "changed": ("A" if text[0] != "A" else "B") + text[1:],
        "junk": "junk",
        "empty_parts": ".",
        "long": "x" * 5000,
        "expired": url_for(house, "c-1", valid_ms=-1).rsplit("/", 1)[1],
        "not_ascii": "%F0%9F%92%A5.%00",
    }[fault]
    await asyncio.sleep(0.05)  # what the answer had to note is noted
    watched = house.gateway.director._registry = Watched(house.registry)
    assert await house.status_of(f"{base}/{bad}") == 401
    assert watched.asked == []
    assert house.metric("sfvopi_routes_total", result="token") == 1
    assert house.workers[0].streams == []


async def test_both_signing_keys_verify_while_they_are_rotated(open_house: Any) -> None:
    house = await open_house(token_secrets="new,the-signing-key")
    worker = await house.start_worker()
    await house.answer("c-1")
    worker.attaches = False
    async with house.connect(url_for(house, "c-1", secret="the-signing-key")):
        assert len(worker.streams) == 1


async def test_the_token_of_a_call_that_nobody_knows_gets_404(house: Any) -> None:
    await house.start_worker("another")
    assert await house.status_of(url_for(house, "c-unknown")) == 404


async def test_of_a_call_that_the_registry_has_lost_its_worker_decides(house: Any) -> None:
    worker = await house.start_worker("w1")
    worker.refuse_with = 404
    assert await house.status_of(url_for(house, "c-lost")) == 404
    worker.refuse_with = None
    assert await house.status_of(url_for(house, "c-lost")) == 101


async def test_the_token_of_an_ended_call_gets_403(house: Any) -> None:
    await house.start_worker()
    url = (await house.answer("c-1")).url
    await house.post("hangup", {"call_uuid": "c-1", "call_status": "COMPLETED"})
    assert await house.status_of(url) == 403
    assert house.metric("sfvopi_routes_total", result="ended") == 1
    await house.until(lambda: house.registry._timelines.get("c-1"))


async def test_a_token_that_comes_too_late_gets_403_for_the_first_stream_only(house: Any) -> None:
    await house.start_worker("w1")
    await house.answer("c-1")
    too_long_ago_ms = house.registry.now_ms() - house.gateway.settings.attach_by_ms - 1
    await house.registry.patch("c-1", {"answered_at_ms": too_long_ago_ms})
    late = url_for(house, "c-1", attach_ms=-1)
    assert await house.status_of(late) == 403
    assert house.metric("sfvopi_routes_total", result="not_attached_in_time") == 1
    await house.registry.move("c-1", CallEvent.ATTACH, {"worker_id": "w1"})
    async with house.connect(late):
        assert (await house.registry.get("c-1")).state is CallState.ACTIVE


async def test_without_workers_a_good_token_gets_503(house: Any) -> None:
    worker = await house.start_worker()
    url = (await house.answer("c-1")).url
    await house.registry.remove_worker(worker.worker_id)
    assert await house.status_of(url) == 503


async def test_with_the_registry_away_a_signed_token_finds_the_worker_last_heard_of(house: Any) -> None:
    worker = await house.start_worker()
    url = (await house.answer("c-1")).url
    await house.gateway.beat()
    house.registry.is_away = True
    worker.attaches = False
    async with house.connect(url):
        assert len(worker.streams) == 1


async def test_with_the_registry_away_and_no_worker_known_it_is_503(open_house: Any) -> None:
    house = await open_house(heartbeat_s=1)
    house.registry.is_away = True
    assert await house.status_of(url_for(house, "c-1")) == 503
    assert house.metric("sfvopi_routes_total", result="registry_away") == 1


async def test_a_stream_path_over_plain_http_is_not_found(house: Any) -> None:
    await house.start_worker()
    path = (await house.answer("c-1")).url.split(str(house.public.port))[1]
    assert (await house.http.get(path)).status_code == 404
    assert (await house.registry.get("c-1")).state is CallState.RESERVED


async def test_the_public_path_is_the_one_of_the_setting(open_house: Any) -> None:
    house = await open_house(public_wss_url="ws://127.0.0.1:1/voice/streams/")
    worker = await house.start_worker()
    answer = await house.answer("c-1")
    assert answer.url.startswith("ws://127.0.0.1:1/voice/streams/")
    token = answer.url.rsplit("/", 1)[1]
    async with house.connect(f"ws://127.0.0.1:{house.public.port}/voice/streams/{token}"):
        assert len(worker.streams) == 1
    assert await house.status_of(f"ws://127.0.0.1:{house.public.port}/ws/{token}") == 403


def test_the_drain_deadline_is_every_process_setting() -> None:
    assert FleetSettings.model_fields["drain_deadline_s"].default == 3600
