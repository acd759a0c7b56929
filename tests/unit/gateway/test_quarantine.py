"""A bot whose calls kill workers: its new calls get what its number has for a full fleet, everybody else's go on."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared.calls.outcome import Reason
from shared.calls.state import CallEvent, CallState
from shared.fleet.death import DeathCause, DeathNote
from shared.fleet.worker import WorkerRecord, WorkerState
from shared.registry import MemoryRegistry
from shared.registry.blame import convict, convict_if_over
from shared.registry.endings import end_call
from tests.unit.gateway.conftest import LEASE_MS
from tests.unit.gateway.test_culprits import START, Caller, die, seated
from tests.unit.gateway.test_overflow import ELSEWHERE, is_busy_message

BAD, GOOD = "my_bots.sales:bot", "my_bots.front_desk:bot"
BAD_CALL = {"from": "+919000000001", "to": "+918000000002", "direction": "INBOUND"}
GOOD_CALL = BAD_CALL | {"to": "+918000000001"}
BUILDS = {BAD: "1", GOOD: "1"}


@pytest.fixture
async def make_house(open_house: Any, tmp_path: Path) -> Any:
    """A fleet of one worker with two bots; the bad one has convicted calls."""

    async def make(overflow: str = "reject", convicted: int = 3, capacity: int = 5, **settings: Any) -> Any:
        table = {"reject": "", "redirect": f'redirect_url = "{ELSEWHERE}"\n'}.get(overflow, "")
        (tmp_path / "bots.toml").write_text(
            f'[default]\nbot = "{GOOD}"\n["+918000000002"]\nbot = "{BAD}"\noverflow = "{overflow}"\n{table}'
        )
        house = await open_house(numbers_file=tmp_path / "bots.toml", **settings)
        await house.start_worker(capacity=capacity)
        await beat(house, BUILDS, capacity)
        for n in range(convicted):
            await house.registry.convict(f"killer-{n}", BAD, "1")
        await house.gateway.beat()
        return house

    return make


async def beat(house: Any, builds: dict[str, str], capacity: int = 5, worker: int = 0) -> None:
    fake = house.workers[worker]
    address = f"127.0.0.1:{fake.server.port}"
    record = WorkerRecord(fake.worker_id, address, WorkerState.SERVING, capacity, builds=builds)
    await house.registry.heartbeat(record, [], LEASE_MS)


async def ask(house: Any, call_id: str, call: dict[str, str] = BAD_CALL, name: str = "answer") -> Any:
    return await house.post(name, call | {"call_uuid": call_id})


async def test_its_calls_are_refused_and_the_fallback_says_why_we_cannot(make_house: Any) -> None:
    house = await make_house()
    assert (await ask(house, "b-1")).status_code == 503
    assert is_busy_message(await ask(house, "b-1", name="fallback"), house)
    assert (await ask(house, "g-1", GOOD_CALL)).status_code == 200
    assert await house.used_slots() == 1
    refused = [e.data for e in await timeline(house, "b-1") if e.event == "refused"]
    assert [entry["bot"] for entry in refused] == ["quarantined"] * 2
    assert house.metric("sfvopi_admissions_total", result="refused") == 1


async def timeline(house: Any, call_id: str) -> Any:
    await house.until(lambda: len(house.registry._timelines.get(call_id, [])) >= 4)
    return await house.registry.timeline(call_id)


@pytest.mark.parametrize("overflow", ["busy", "hold"])
async def test_busy_is_said_at_once_and_nobody_waits_in_line_for_it(make_house: Any, overflow: str) -> None:
    house = await make_house(overflow)
    assert is_busy_message(await ask(house, "b-1"), house)
    assert await house.registry.keep_line([], 0) == []
    record = await house.registry.get("b-1")
    assert (record.state, record.reason) == (CallState.ENDED, "busy_message")


async def test_its_calls_are_sent_elsewhere_when_that_is_the_policy(make_house: Any) -> None:
    house = await make_house("redirect")
    assert (await ask(house, "b-1")).json()["stream"]["url"] == ELSEWHERE


async def test_who_waits_already_hears_the_busy_message_when_the_quarantine_comes(make_house: Any) -> None:
    house = await make_house("hold", convicted=2, capacity=1)
    assert (await ask(house, "g-1", GOOD_CALL)).status_code == 200
    held = (await ask(house, "b-1")).json()["stream"]["url"]
    async with house.connect(held) as stream:
        await stream.send('{"event":"start","streamId":"s","callId":"x"}')
        assert '"playAudio"' in str(await stream.recv())
        await house.registry.convict("killer-3", BAD, "1")
        await house.gateway.beat()
        async for _ in stream:  # the music, then the busy message, then it is closed
            pass
        assert stream.close_code == 1000
    assert (await house.registry.get("b-1")).reason == "busy_message"


async def test_a_slot_that_was_promised_and_a_session_that_lives_are_kept(make_house: Any) -> None:
    house = await make_house(convicted=2)
    promised, live = await ask(house, "b-1"), await ask(house, "b-2")
    await house.registry.move("b-2", CallEvent.ATTACH, {"worker_id": "w1"})
    await house.registry.convict("killer-3", BAD, "1")
    await house.gateway.beat()
    assert (promised.status_code, live.status_code) == (200, 200)
    assert (await ask(house, "b-1")).status_code == (await ask(house, "b-2")).status_code == 200
    assert (await ask(house, "b-3")).status_code == 503
    async with house.connect(promised.json()["stream"]["url"]):
        pass


async def test_a_deploy_of_the_bot_lets_its_calls_in(make_house: Any) -> None:
    house = await make_house()
    await house.start_worker("w2", capacity=1)
    await beat(house, BUILDS | {BAD: "2"}, 1, worker=1)
    assert (await ask(house, "b-1")).status_code == 200
    assert (await ask(house, "b-2")).status_code == 503, "the new one is full"
    assert (await house.registry.get("b-1")).worker_id == "w2"


async def test_a_fleet_with_no_other_bot_is_not_dark(open_house: Any) -> None:
    house = await open_house(default_bot=BAD)
    for n, worker_id in enumerate(("w2", "w1")):
        await house.start_worker(worker_id, capacity=1)
        await beat(house, {BAD: "1"}, 1, worker=n)
    for n in range(3):
        await house.registry.convict(f"killer-{n}", BAD, "1")
    await house.gateway.beat()
    assert [(await ask(house, f"b-{n}")).status_code for n in range(2)] == [200, 503]
    assert (await house.registry.get("b-0")).worker_id == "w1"
    (shown,) = (await house.inner.get("/api/quarantine")).json()["quarantined"]
    assert (shown["kept_worker"], shown["workers"]) == ("w1", ["w1", "w2"])


async def test_it_holds_while_the_registry_is_away(make_house: Any) -> None:
    house = await make_house("busy", heartbeat_s=0.1)
    settled = house.gateway.settings.settle_ms / 1000
    await asyncio.sleep(settled + 0.1)
    await house.gateway.beat()
    house.registry.is_away = True
    assert is_busy_message(await ask(house, "b-1"), house)
    assert not is_busy_message(await ask(house, "g-1", GOOD_CALL), house)


async def test_the_api_shows_it_and_an_operator_ends_it(make_house: Any) -> None:
    house = await make_house()
    (shown,) = (await house.inner.get("/api/quarantine")).json()["quarantined"]
    assert shown == {
        "bot": BAD,
        "since_ms": shown["since_ms"],
        "calls": ["killer-0", "killer-1", "killer-2"],
        "workers": ["w1"],
        "kept_worker": "",
    }
    with capture_logs() as logs:
        released = await house.inner.post(f"/api/bots/{BAD}/release")
        again = await house.inner.post("/api/bots/my_bots.sales%3Abot/release")
    assert released.json() == {"bot": BAD, "released": True}
    assert again.json() == {"bot": BAD, "released": False}
    told = [(e["bot"], e["by"]) for e in logs if e["event"] == "bot is released by an operator"]
    assert told == [(BAD, "127.0.0.1")] * 2
    assert (await ask(house, "b-1")).status_code == 200
    assert (await house.inner.get("/api/quarantine")).json() == {"quarantined": []}


async def test_a_release_needs_the_token(make_house: Any) -> None:
    house = await make_house(api_token="s3cret")
    assert (await house.inner.post(f"/api/bots/{BAD}/release")).status_code == 401
    assert (await house.inner.get("/api/quarantine")).status_code == 401
    bearer = {"Authorization": "Bearer s3cret"}
    assert (await house.inner.post(f"/api/bots/{BAD}/release", headers=bearer)).json()["released"] is True


async def test_metric_and_log_say_so_while_it_is_in_force(make_house: Any) -> None:
    with capture_logs() as logs:
        house = await make_house()
        assert [house.metric("sfvopi_bot_quarantined", bot=bot) for bot in (BAD, GOOD)] == [1, 0]
        await beat(house, BUILDS | {BAD: "2"})
        await house.gateway.beat()
        assert house.metric("sfvopi_bot_quarantined", bot=BAD) == 0
    told = [e for e in logs if "quarantined" in e["event"]]
    assert [(e["log_level"], e["bot"]) for e in told] == [("error", BAD), ("info", BAD)]
    assert "sfvopi release" in json.dumps(told[0])


async def test_a_bot_that_only_another_gateway_names_is_counted_as_other(make_house: Any) -> None:
    house = await make_house(convicted=0)
    await beat(house, BUILDS | {"else:bot": "1"})
    for n in range(3):
        await house.registry.convict(f"killer-{n}", "else:bot", "1")
    await house.gateway.beat()
    assert house.metric("sfvopi_bot_quarantined", bot="other") == 1
    await house.registry.release_bot("else:bot")
    await house.gateway.beat()
    assert house.metric("sfvopi_bot_quarantined", bot="other") == 0


# -- how it comes to that


@pytest.mark.parametrize(
    ("outlived", "build"),
    [
        (("w1", "w2"), "2"),  # the one of the last worker that died
        (("w2", "gone"), "2"),  # the last of those that are known
        (("gone",), "2"),  # the one that most have
        ((), "2"),
    ],
)
async def test_a_call_counts_against_the_build_that_killed_its_workers(outlived: tuple[str, ...], build: str) -> None:
    registry = MemoryRegistry()
    for worker_id, its in (("w1", "1"), ("w2", "2"), ("w3", "2"), ("w4", "")):
        record = WorkerRecord(worker_id, "127.0.0.1:1", WorkerState.SERVING, 5, builds={BAD: its} if its else {})
        await registry.heartbeat(record, [], LEASE_MS)
    for n in range(3):
        await convict(registry, f"c-{n}", BAD, outlived)
    (quarantine,) = await registry.quarantined()
    assert (quarantine.bot, quarantine.builds) == (BAD, (build,))


async def test_a_bot_of_which_nobody_knows_a_build_is_quarantined_all_the_same() -> None:
    registry = MemoryRegistry()
    for n in range(3):
        await convict(registry, f"c-{n}", BAD, ("w1",))
    (quarantine,) = await registry.quarantined()
    assert quarantine.builds == ("",)


@pytest.mark.parametrize(
    ("note", "is_over", "counts"),
    [
        ({"cause": DeathCause.CRASHED}, True, True),  # in work after the call
        ({"cause": DeathCause.FROZEN}, True, True),  # its caller hung up in the silence
        ({"cause": DeathCause.MEMORY, "bot": ""}, True, True),
        ({"cause": DeathCause.CRASHED}, False, False),  # it lives: a gateway judges it
        ({"cause": DeathCause.OUTSIDE}, True, False),
        ({"cause": DeathCause.CRASHED, "call_id": ""}, True, False),
        ({"cause": DeathCause.CRASHED, "call_id": "rehearsal"}, True, False),  # no call that anybody knows
    ],
)
async def test_a_call_that_is_over_counts_with_its_one_death(note: dict[str, Any], is_over: bool, counts: bool) -> None:
    registry = MemoryRegistry()
    record = WorkerRecord("w1", "127.0.0.1:1", WorkerState.SERVING, 5, builds={BAD: "7"})
    await registry.heartbeat(record, [], LEASE_MS)
    for n in range(3):
        await registry.move(f"c-{n}", CallEvent.ANSWER, {"bot": BAD, "worker_id": "w1"})
        if is_over:
            await end_call(registry, f"c-{n}", Reason.CALLER_HUNG_UP)
        told = {"call_id": f"c-{n}", "bot": BAD} | note
        await convict_if_over(registry, DeathNote("w1", 1, registry.now_ms(), **told))
    assert [quarantine.builds for quarantine in await registry.quarantined()] == [("7",)] * counts


async def test_three_calls_that_killed_their_workers_quarantine_their_bot(open_house: Any) -> None:
    house = await open_house(default_bot=BAD, culprit_retries=0, heartbeat_s=0.1)
    for n in range(4):
        await house.start_worker(f"w{n}", started_at_ms=n + 1)
    for n in range(3):
        async with house.connect((await house.answer(f"c-{n}")).url) as carrier:
            await carrier.send(START)
            await die(house, await seated(house, f"c-{n}"), call_id=f"c-{n}")
            assert await Caller(carrier).closed_with() == 1000
        assert len(await house.registry.quarantined()) == (n == 2)
    (quarantine,) = await house.registry.quarantined()
    assert quarantine.calls == ("c-0", "c-1", "c-2")
    assert house.metric("sfvopi_calls_total", result="failed", reason="poisonous") == 3
    assert (await ask(house, "c-3")).status_code == 503
