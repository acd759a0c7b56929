"""Calls that come while the registry is away: this gateway's share of what was free, and what becomes of it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.local_admission import Given, LastKnown, choose
from shared.calls.state import CallEvent, CallState
from shared.fleet.worker import WorkerRecord, WorkerState, WorkerView
from shared.registry import MemoryRegistry, RegistryAway
from shared.tokens import verify_token

NOW = 1_000_000


def view(
    worker_id: str, capacity: int, used: int = 0, state: WorkerState = WorkerState.SERVING, lease_ms: int = 5_000
) -> WorkerView:
    return WorkerView(WorkerRecord(worker_id, "127.0.0.1:1", state, capacity), used, NOW + lease_ms)


def give_all(known: LastKnown, number: str = "", ceiling: int = 0, bot: str = "") -> list[str]:
    """Workers in the order in which slots are given out, until there is none to give."""
    given: list[Given] = []
    while (worker_id := choose(known, given, number, ceiling, bot)) is not None:
        given.append(Given(worker_id, number, NOW, {}))
    return [one.worker_id for one in given]


@pytest.mark.parametrize(("gateways", "share"), [(1, 7), (2, 3), (3, 2), (7, 1), (8, 0)])
def test_gateways_together_give_out_no_more_than_was_free(gateways: int, share: int) -> None:
    known = LastKnown((view("a", 5, 2), view("b", 4)), gateways, NOW)
    assert len(give_all(known)) == share


def test_slots_are_given_out_where_they_were_and_to_the_least_loaded_first() -> None:
    assert give_all(LastKnown((view("a", 4, 2), view("b", 4)), 1, NOW)) == ["b", "b", "a", "b", "a", "b"]


def test_workers_that_took_no_calls_when_last_heard_of_get_none() -> None:
    drains, silent = view("a", 4, state=WorkerState.DRAINING), view("b", 4, lease_ms=0)
    assert give_all(LastKnown((drains, silent, view("c", 1)), 1, NOW)) == ["c"]
    assert give_all(LastKnown()) == []


def test_a_number_gets_its_share_of_its_ceiling() -> None:
    assert len(give_all(LastKnown((view("a", 9),), 2, NOW), "+91", ceiling=5)) == 2


def test_a_bot_gets_its_share_of_the_workers_that_can_run_it() -> None:
    """Two gateways would else give out what the only worker of a bot has, each of them."""
    only_sales = replace(view("b", 6), record=replace(view("b", 6).record, bots=("m:sales",)))
    known = LastKnown((view("a", 4), only_sales), 2, NOW)
    assert give_all(known, bot="m:support") == ["a", "a"]
    assert sorted(give_all(known, bot="m:sales")) == ["a", "a", "b", "b", "b"]
    sold = [Given("b", "", NOW, {})] * 5
    assert choose(known, sold, "", 0, "m:support") == "a", "what sales got elsewhere is none of its share"


# -- over HTTP


def token_of(url: str) -> Any:
    return verify_token(url.rsplit("/", 1)[1], ["the-signing-key"], 0)


async def go_away(house: Any) -> None:
    """The registry is away from now on, and the gateway has known the fleet."""
    await house.until(lambda: house.gateway.local._known.share())
    await house.gateway.beat()
    house.registry.is_away = True


@pytest.fixture
async def quick(open_house: Any) -> Any:
    return await open_house(heartbeat_s=0.05, lease_s=1, attach_by_s=20)


async def test_calls_are_placed_up_to_the_share_then_by_policy(quick: Any) -> None:
    await quick.start_worker("w1", capacity=2)
    await quick.registry.gateway_heartbeat("another", 60_000)
    await quick.start_worker("w2", capacity=3)
    await go_away(quick)
    places = [await quick.post("answer", {"call_uuid": f"c-{n}"}) for n in range(4)]
    assert [place.status_code for place in places] == [200, 200, 503, 503], "5 free slots, 2 gateways"
    assert quick.metric("sfvopi_admissions_total", result="placed_locally") == 2
    told = await quick.answer("c-3", "fallback")
    assert token_of(told.url).worker_id == "", "a busy message"


async def test_asked_again_it_is_the_same_answer(quick: Any) -> None:
    await quick.start_worker("w1", capacity=4)
    await quick.start_worker("w2", capacity=4)
    await go_away(quick)
    asked = [token_of((await quick.answer("c-1", name)).url) for name in ("answer", "fallback", "answer")]
    assert len({(token.worker_id, token.attach_by_ms) for token in asked}) == 1
    assert len(quick.gateway.local._given) == 1


async def test_the_token_says_which_bot_speaks_for_a_worker_that_cannot_ask(open_house: Any, tmp_path: Any) -> None:
    (tmp_path / "bots.toml").write_text('["+918000000002"]\nbot = "a.b:c"\ncodec = "L16"\nsample_rate = 16000\n')
    house = await open_house(numbers_file=tmp_path / "bots.toml", heartbeat_s=0.05, lease_s=1)
    await house.start_worker("w1")
    await go_away(house)
    token = token_of((await house.answer("c-1", to="+918000000002")).url)
    assert (token.bot, token.format.sample_rate, token.is_local) == ("a.b:c", 16000, True)


async def test_its_stream_goes_to_the_worker_and_to_another_when_that_one_has_no_room(quick: Any) -> None:
    first = await quick.start_worker("w1", capacity=4)
    second = await quick.start_worker("w2", capacity=4)
    first.attaches = second.attaches = False
    await go_away(quick)
    url = (await quick.answer("c-1")).url
    async with quick.connect(url):
        assert (len(first.streams), len(second.streams)) == (1, 0)
    first.refuse_with = 503
    async with quick.connect(url):
        assert len(second.streams) == 1
    second.refuse_with = 503
    assert await quick.status_of(url) == 503


async def test_what_was_given_out_is_written_down_when_the_registry_is_back(quick: Any) -> None:
    await quick.start_worker("w1", capacity=2)
    await go_away(quick)
    await quick.answer("c-1", **{"from": "+919000000001"})
    quick.registry.is_away = False
    await quick.until(lambda: not quick.gateway.local._given)
    record = await quick.registry.get("c-1")
    assert (record.state, record.worker_id, record.bot) == (
        CallState.RESERVED,
        "w1",
        quick.gateway.settings.default_bot,
    )
    assert record.from_number == "+919000000001"
    assert await quick.used_slots() == 1
    again = await quick.answer("c-1")
    assert token_of(again.url).worker_id == "w1"
    assert await quick.used_slots() == 1
    async with asyncio.timeout(2):
        while "reserved" not in await quick.timeline("c-1"):
            await asyncio.sleep(0.01)


async def test_a_number_at_its_ceiling_by_what_was_given_out_gets_no_more_when_the_registry_is_back(
    open_house: Any,
) -> None:
    house = await open_house(MemoryRegistry(), heartbeat_s=0.1, lease_s=1, ceiling=1)
    await house.start_worker("w1", capacity=5)
    await go_away(house)
    await house.answer("c-1")
    house.registry.is_away = False
    await house.until(lambda: not house.gateway.local._given)
    assert (await house.post("answer", {"call_uuid": "c-2", "to": "+918000000001"})).status_code == 503
    await house.answer("c-3", to="+918000000002")


async def test_a_call_that_its_worker_wrote_down_first_gets_what_only_the_gateway_knows(quick: Any) -> None:
    worker = await quick.start_worker("w1", capacity=2)
    await go_away(quick)
    await quick.answer("c-1", **{"from": "+919000000001"})
    quick.registry.is_away = False
    await quick.registry.move("c-1", CallEvent.ANSWER, {"worker_id": worker.worker_id})
    await quick.registry.move("c-1", CallEvent.ATTACH, {"worker_id": worker.worker_id})
    await quick.until(lambda: not quick.gateway.local._given)
    record = await quick.registry.get("c-1")
    assert (record.state, record.from_number) == (CallState.ACTIVE, "+919000000001")


async def test_a_call_keeps_the_trace_that_its_session_is_in(quick: Any) -> None:
    worker = await quick.start_worker("w1", capacity=2)
    await go_away(quick)
    await quick.answer("c-1")
    quick.gateway.local._given["c-1"].changes["traceparent"] = "the answer's own"
    quick.registry.is_away = False
    await quick.registry.move("c-1", CallEvent.RING, {"traceparent": "the first"})
    await quick.registry.move("c-1", CallEvent.ANSWER, {"worker_id": worker.worker_id})
    await quick.until(lambda: not quick.gateway.local._given)
    assert (await quick.registry.get("c-1")).traceparent == "the first"


async def test_a_call_that_hung_up_meanwhile_is_over_with_all_that_is_known_of_it(quick: Any) -> None:
    await quick.start_worker("w1", capacity=2)
    await go_away(quick)
    await quick.answer("c-1", **{"from": "+919000000001"})
    await quick.post("hangup", {"call_uuid": "c-1", "call_status": "COMPLETED", "duration": 9})
    quick.registry.is_away = False
    await quick.until(lambda: not quick.gateway.local._given)
    record = await quick.registry.get("c-1")
    assert (record.state, record.reason, record.carrier_duration_s) == (CallState.ENDED, "caller_hung_up", 9)
    assert (record.bot, record.from_number) == (quick.gateway.settings.default_bot, "+919000000001")
    assert await quick.used_slots() == 0


async def test_two_gateways_that_placed_the_same_call_leave_it_one_slot(open_house: Any) -> None:
    registry = MemoryRegistry()
    options = {"heartbeat_s": 0.05, "lease_s": 1}
    houses = [await open_house(registry, gateway_id=name, **options) for name in ("g1", "g2")]
    await houses[0].start_worker("w1", capacity=1)
    await houses[0].start_worker("w2", capacity=1)
    for house in houses:
        await house.until(lambda house=house: house.gateway.local._known.share() == 1)
    registry.is_away = True
    for house in houses:
        await house.answer("c-1")
    registry.is_away = False
    await houses[0].until(lambda: not any(house.gateway.local._given for house in houses))
    assert await houses[0].used_slots() == 1


async def test_a_registry_that_comes_back_empty_is_told_when_the_workers_have_told_of_theirs(quick: Any) -> None:
    worker = await quick.start_worker("w1", capacity=2)
    await go_away(quick)
    await quick.answer("c-1")
    quick.registry._slots.__init__()
    quick.registry.is_away = False
    await quick.until(lambda: not quick.gateway.health.registry_away)
    await quick.gateway.beat()
    assert quick.gateway.local._given, "there is no worker to hold a slot yet"
    assert quick.gateway.local._known.share() == 2, "nor is it forgotten how many there were"
    await worker.beat(2)
    await quick.until(lambda: not quick.gateway.local._given)
    assert await quick.used_slots() == 1


async def test_a_registry_that_is_slow_keeps_no_answer_waiting(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step answered just within its own time: together they took longer than a caller shall wait."""
    await quick.start_worker("w1", capacity=2)
    await go_away(quick)
    quick.registry.is_away = False

    async def slow(*_: Any, **__: Any) -> None:
        await asyncio.sleep(30)

    monkeypatch.setattr(quick.registry, "move", slow)
    async with asyncio.timeout(1.5):
        answer = await quick.answer("c-1")
    assert token_of(answer.url).is_local


async def test_what_the_registry_put_aside_for_a_call_that_was_refused_is_given_back(
    quick: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen Redis did what it had been asked when it woke up, and the slots were held for a minute, for nobody."""
    await quick.start_worker("w1", capacity=1)
    await go_away(quick)
    await quick.answer("c-1")
    quick.registry.is_away = False
    reserve = quick.registry.reserve

    async def too_late(*args: Any, **kwargs: Any) -> None:
        await reserve(*args, **kwargs)
        raise RegistryAway("Redis does not answer")

    monkeypatch.setattr(quick.registry, "reserve", too_late)
    assert (await quick.post("answer", {"call_uuid": "c-2"})).status_code == 503
    await quick.until(lambda: not quick.gateway.local._refused and not quick.gateway.local._given)
    assert quick.registry._slots._holders == {"c-1": "w1"}
