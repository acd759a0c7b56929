"""Who may come in, where a request comes from, and what becomes of those who fail too often."""

import ipaddress
from typing import Any

import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from gateway.ends import headers_to_pass
from gateway.failures import Failures
from gateway.serving import connections_within
from gateway.sources import source_of
from shared.networks import parse_ip, parse_networks
from tests.documents import ROOT

PROXIES = parse_networks("10.0.0.0/8, fd00::/8")


@pytest.mark.parametrize(
    ("peer", "forwarded", "source"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),  # not a proxy of ours: its header is a story
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),  # what the client wrote stands left of what is true
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # all of them ours
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, unknown"], None),
        ("10.0.0.1", [""], None),
        ("", ["198.51.100.1"], None),  # a socket without an address
    ],
)
def test_the_source_is_the_right_most_address_that_no_trusted_proxy_has(
    peer: str, forwarded: list[str], source: str | None
) -> None:
    assert source_of(peer, forwarded, PROXIES) == (ipaddress.ip_address(source) if source else None)


@given(st.ip_addresses(), st.lists(st.text()))
def test_whoever_is_no_trusted_proxy_cannot_say_where_he_comes_from(peer: Any, forwarded: list[str]) -> None:
    if not any(parse_ip(str(peer)) in network for network in PROXIES):
        assert source_of(str(peer), forwarded, PROXIES) == parse_ip(str(peer))


@given(st.lists(st.text()))
def test_whatever_a_header_says_is_read(forwarded: list[str]) -> None:
    source_of("10.0.0.1", forwarded, PROXIES)


# -- failures


def test_a_source_has_a_budget_of_failures_that_comes_back_with_time() -> None:
    failures, one, other = Failures(6), parse_ip("192.0.2.1"), parse_ip("192.0.2.2")
    assert [failures.spend(one, 100.0) for _ in range(8)] == [True] * 6 + [False] * 2
    assert failures.spend(other, 100.0)
    assert failures.spend(one, 110.0), "ten seconds are one failure of six a minute"
    assert not failures.spend(one, 110.0)
    assert failures.retry_after_s == 10


def test_budgets_are_kept_for_so_many_sources_and_no_more() -> None:
    failures = Failures(1, most_sources=100)
    for number in range(1000):
        assert failures.spend(parse_ip(f"10.0.{number // 250}.{number % 250}"), 0.0)
    assert len(failures) == 100


def test_an_ipv6_host_with_many_addresses_is_one_source() -> None:
    failures = Failures(1)
    assert failures.spend(parse_ip("2001:db8::1"), 0.0)
    assert not failures.spend(parse_ip("2001:db8::2"), 0.0)
    assert failures.spend(parse_ip("2001:db8:0:1::1"), 0.0)


def test_without_a_limit_nothing_is_kept() -> None:
    failures = Failures(0)
    assert all(failures.spend(None, 0.0) for _ in range(1000))
    assert len(failures) == 0


# -- the door


FORWARDED = {"X-Forwarded-For": "198.51.100.9"}


async def refusal(house: Any, url: str, **options: Any) -> Any:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await house.connect(url, **options)
    return refused.value.response


async def test_who_is_not_on_the_list_gets_403_before_anything_is_parsed(open_house: Any) -> None:
    house = await open_house(allowed_sources="198.51.100.0/24")
    await house.start_worker()
    response = await house.http.post("/webhook/answer", content=b"x" * 100_000)
    assert response.status_code == 403
    assert (await house.post("answer", {"call_uuid": "c-1"}, "")).status_code == 403
    assert await house.registry.get("c-1") is None
    assert (await refusal(house, f"ws://127.0.0.1:{house.public.port}/ws/x.y")).status_code == 403
    assert house.metric("sfvopi_turned_away_total", why="not_allowed") == 3
    assert house.metric("sfvopi_tokens_refused_total", fault="malformed") == 0, "the token was not even looked at"


async def test_a_forged_forwarding_header_opens_no_door(open_house: Any) -> None:
    house = await open_house(allowed_sources="198.51.100.0/24")
    response = await house.http.post("/webhook/answer", json={"call_uuid": "c-1"}, headers=FORWARDED)
    assert response.status_code == 403


async def test_who_is_on_the_list_comes_in_through_a_trusted_proxy(open_house: Any) -> None:
    house = await open_house(allowed_sources="198.51.100.0/24", trusted_proxies="127.0.0.0/8")
    worker = await house.start_worker()
    response = await house.http.post("/webhook/answer", json={"call_uuid": "c-1"}, headers=FORWARDED)
    assert response.status_code == 200
    url = response.json()["stream"]["url"]
    assert (await refusal(house, url)).status_code == 403
    async with house.connect(url, additional_headers=FORWARDED):
        assert len(worker.streams) == 1
    await house.until(lambda: house.gateway.streams.open_legs == 0)


async def test_nginx_asks_for_a_stream_that_may_not_come(open_house: Any) -> None:
    house = await open_house(allowed_sources="198.51.100.0/24", trusted_proxies="127.0.0.0/8")
    await house.start_worker()
    answer = await house.http.post("/webhook/answer", json={"call_uuid": "c-1"}, headers=FORWARDED)
    path = answer.json()["stream"]["url"].split(str(house.public.port))[1]
    asked = {"X-Original-URI": path}
    assert (await house.inner.get("/route", headers={**asked, "X-Forwarded-For": "6.6.6.6"})).status_code == 403
    assert (await house.inner.get("/route", headers={**asked, **FORWARDED})).status_code == 204
    assert (await house.inner.get("/healthz")).status_code == 200, "the rest of the internal port has no list"


async def test_who_fails_too_often_gets_429_for_failures_and_is_served_otherwise(open_house: Any) -> None:
    house = await open_house(failures_per_minute=3, webhook_secrets="the-secret")
    worker = await house.start_worker()
    bad = [await house.http.post("/webhook/guess/answer", json={}) for _ in range(3)]
    assert [response.status_code for response in bad] == [404] * 3
    limited = await house.http.get("/wp-login.php")
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "20")
    assert (await house.http.put("/webhook/the-secret/answer")).status_code == 429
    refused = await refusal(house, f"ws://127.0.0.1:{house.public.port}/ws/x.y")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "20")
    assert (await refusal(house, f"ws://127.0.0.1:{house.public.port}/another/path")).status_code == 429
    assert house.metric("sfvopi_turned_away_total", why="too_many_failures") == 4
    answer = await house.post("answer", {"call_uuid": "c-1"}, "the-secret")
    async with house.connect(answer.json()["stream"]["url"]):
        assert len(worker.streams) == 1, "good requests are never limited"


async def test_calls_that_the_registry_lost_are_no_failures_of_the_carrier(open_house: Any) -> None:
    house = await open_house(failures_per_minute=1)
    url = (await house.answer("c-1", "fallback")).url  # no worker: a busy message
    await house.start_worker()
    urls = [(await house.answer(f"c-{n}")).url for n in range(2, 5)]
    await house.registry.remove_worker("w1")
    house.registry._calls.clear()
    assert [await house.status_of(each) for each in urls] == [404] * 3
    assert url


async def test_strangers_cannot_fill_the_log(open_house: Any, caplog: pytest.LogCaptureFixture) -> None:
    house = await open_house(failures_per_minute=1)
    for number in range(50):
        assert await house.status_of(f"ws://127.0.0.1:{house.public.port}/ws/x.{number}") in (401, 429)
        await house.http.get(f"/{number}")
    assert len([record for record in caplog.records if record.levelname != "DEBUG"]) <= 3


@pytest.mark.parametrize(
    ("wished", "open_files", "most"), [(10_000, 1024, 448), (100, 1024, 100), (10_000, -1, 10_000), (10_000, 64, 1)]
)
def test_connections_are_as_many_as_the_process_may_have_files_for(wished: int, open_files: int, most: int) -> None:
    assert connections_within(wished, open_files) == most


# -- headers that are ours


def test_what_nginx_and_gateways_say_among_themselves_does_not_come_from_a_carrier() -> None:
    ours = ["x-sfvopi-path", "x-failed-worker", "x-original-uri", "x-worker", "x-sfvopi-anything"]
    assert headers_to_pass({**dict.fromkeys(ours, "relayed"), "x-call-uuid": "c-1"}) == {"x-call-uuid": "c-1"}


async def test_such_headers_change_nothing_at_the_public_port_and_reach_no_worker(house: Any) -> None:
    worker, other = await house.start_worker("w1"), await house.start_worker("w2")
    url = (await house.answer("c-1")).url
    own = f"127.0.0.1:{worker.server.port}"
    forged = {
        "X-Failed-Worker": own,
        "X-Worker": "192.0.2.1:80",
        "X-Original-URI": "/ws/another.token",
        "X-SFVoPI-Path": "direct",
    }
    async with house.connect(url, additional_headers=forged):
        headers = worker.streams[0].headers
        assert headers["x-sfvopi-path"] == "relayed", "the leg's own word, and only that"
        assert not {"x-failed-worker", "x-worker", "x-original-uri"} & headers.keys()
    assert other.streams == []
    views = {view.record.worker_id: view for view in await house.registry.workers()}
    assert views["w1"].can_take(house.registry.now_ms()), "nobody is marked dead"


def test_the_names_that_nginx_uses_are_among_those_that_are_cleared() -> None:
    for conf in (ROOT / "deploy").rglob("*nginx*.template"):
        used = {line.split()[1].lower() for line in conf.read_text().splitlines() if "proxy_set_header X-" in line}
        known = {
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-real-ip",
            "x-call-uuid",
            "x-request-id",
        }  # nobody acts on these
        assert not {name for name in used - known if name in headers_to_pass({name: "x"})}
