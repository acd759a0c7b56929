"""What becomes of a call that no worker can take: its number's policy, told again to who asks again."""

from pathlib import Path
from typing import Any

import pytest

from gateway.admission import Verdict, decide
from shared.calls.state import CallState
from shared.settings import Numbers, SettingsError, WorkerSettings
from shared.settings.numbers import Overflow
from shared.tokens import verify_token
from tests.unit.gateway.conftest import SECRET

ANSWER = {"call_uuid": "c-1", "from": "+919000000001", "to": "+918000000001", "direction": "INBOUND"}
ELSEWHERE = "wss://other.example.com/sfvopi"


def is_busy_message(answer: Any, house: Any) -> bool:
    token = answer.json()["stream"]["url"].rpartition("/")[2]
    return verify_token(token, [SECRET], house.registry.now_ms()).worker_id == ""


async def test_busy_is_said_at_once_on_the_primary_too(open_house: Any) -> None:
    house = await open_house(overflow="busy")
    for webhook in ("answer", "answer", "fallback"):  # asked again, it hears the same
        assert is_busy_message(await house.post(webhook, ANSWER), house)
    record = await house.registry.get("c-1")
    assert (record.state, record.reason) == (CallState.ENDED, "busy_message")
    assert house.metric("sfvopi_calls_total", result="refused", reason="busy_message") == 1


async def test_redirect_names_the_other_server_without_a_token_of_ours(open_house: Any) -> None:
    house = await open_house(overflow="redirect", redirect_url=ELSEWHERE)
    for webhook in ("answer", "fallback", "answer"):
        stream = (await house.post(webhook, ANSWER)).json()["stream"]
        assert (stream["url"], stream["codec"]) == (ELSEWHERE, "PCMA")
    record = await house.registry.get("c-1")
    assert (record.state, record.reason, str(record.result)) == (CallState.ENDED, "redirected", "refused")
    assert house.metric("sfvopi_admissions_total", result="redirected") == 3
    assert house.metric("sfvopi_calls_total", result="refused", reason="redirected") == 1


async def test_policies_hold_while_the_registry_is_away(open_house: Any) -> None:
    busy = await open_house(overflow="busy")
    busy.registry.is_away = True
    assert is_busy_message(await busy.post("answer", ANSWER), busy)
    elsewhere = await open_house(overflow="redirect", redirect_url=ELSEWHERE)
    elsewhere.registry.is_away = True
    assert (await elsewhere.post("answer", ANSWER)).json()["stream"]["url"] == ELSEWHERE


async def test_the_flood_of_one_number_leaves_room_for_the_others(open_house: Any, tmp_path: Path) -> None:
    (tmp_path / "bots.toml").write_text('["+918000000002"]\nceiling = 2\noverflow = "busy"\n')
    house = await open_house(numbers_file=tmp_path / "bots.toml")
    await house.start_worker(capacity=5)
    flood = [await house.post("answer", ANSWER | {"call_uuid": f"f-{n}", "to": "+918000000002"}) for n in range(6)]
    assert [is_busy_message(answer, house) for answer in flood] == [False] * 2 + [True] * 4
    others = [await house.post("answer", ANSWER | {"call_uuid": f"o-{n}"}) for n in range(4)]
    assert [answer.status_code for answer in others] == [200, 200, 200, 503], "five slots, two of them taken"
    assert await house.used_slots() == 5


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("is_fallback", [False, True])
def test_who_has_a_slot_or_a_session_is_never_sent_away(overflow: Overflow, is_fallback: bool) -> None:
    for before in (CallState.ACTIVE, CallState.DETACHED):
        assert decide(before, has_slot=False, is_fallback=is_fallback, overflow=overflow) is Verdict.REPEATED
    for before in (CallState.NONE, CallState.RINGING, CallState.RESERVED):
        assert decide(before, has_slot=True, is_fallback=is_fallback, overflow=overflow).is_placed


@pytest.mark.parametrize("overflow", Overflow)
def test_a_call_that_was_hung_up_is_over_whatever_the_policy(overflow: Overflow) -> None:
    said = decide(CallState.ENDED, has_slot=True, is_fallback=False, overflow=overflow, ended_as="caller_hung_up")
    assert said is Verdict.ENDED


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ('overflow = "queue"', "overflow 'queue' is not one of reject, busy, hold, redirect"),
        ('overflow = "redirect"', "redirect_url that starts with wss://"),
        ('overflow = "redirect"\nredirect_url = "https://x"', "redirect_url that starts with wss://"),
        ("ceiling = -1", "ceiling must be a whole number"),
        ("ceiling = true", "ceiling must be a whole number"),
        ("hold_max_s = 0", "hold_max_s must be more than 0 and at most 540"),
        ("hold_max_s = 541", "hold_max_s must be more than 0 and at most 540"),
        ("hold_max_s = true", "hold_max_s must be more than 0 and at most 540"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused_with_its_number(tmp_path: Path, table: str, fault: str) -> None:
    (tmp_path / "bots.toml").write_text(f'["+918000000002"]\n{table}\n')
    with pytest.raises(SettingsError, match=r"\+918000000002") as refused:
        Numbers.read(WorkerSettings.read(token_secrets=SECRET, numbers_file=tmp_path / "bots.toml"))
    assert fault in str(refused.value)
