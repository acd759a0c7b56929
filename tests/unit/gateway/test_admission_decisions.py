"""The decision behind answer and fallback, by itself."""

import pytest

from gateway.admission import Verdict, decide
from shared.calls.record import own_number
from shared.calls.state import CallState
from shared.sfvopi.webhooks import AnswerWebhook

LIVE = (CallState.ACTIVE, CallState.DETACHED)


@pytest.mark.parametrize("is_fallback", [False, True])
@pytest.mark.parametrize("before", [CallState.NONE, CallState.RINGING])
def test_a_new_call_with_a_slot_is_placed(before: CallState, is_fallback: bool) -> None:
    assert decide(before, has_slot=True, is_fallback=is_fallback) is Verdict.RESERVED


@pytest.mark.parametrize("has_slot", [False, True])
@pytest.mark.parametrize("is_fallback", [False, True])
@pytest.mark.parametrize("before", LIVE)
def test_a_live_call_is_repeated_whatever_the_fleet_says(before: CallState, is_fallback: bool, has_slot: bool) -> None:
    assert decide(before, has_slot=has_slot, is_fallback=is_fallback) is Verdict.REPEATED


@pytest.mark.parametrize("before", CallState)
@pytest.mark.parametrize("has_slot", [False, True])
def test_the_fallback_never_refuses(before: CallState, has_slot: bool) -> None:
    verdict = decide(before, has_slot=has_slot, is_fallback=True)
    assert verdict.is_placed or verdict is Verdict.BUSY_MESSAGE


@pytest.mark.parametrize("has_slot", [False, True])
def test_an_ended_call_is_not_placed_again(has_slot: bool) -> None:
    assert decide(CallState.ENDED, has_slot=has_slot, is_fallback=False) is Verdict.ENDED


@pytest.mark.parametrize("before", [CallState.NONE, CallState.RINGING, CallState.RESERVED])
def test_no_slot_on_the_primary_sends_the_carrier_to_the_fallback(before: CallState) -> None:
    assert decide(before, has_slot=False, is_fallback=False) is Verdict.REFUSED


def test_our_own_number_is_the_dialled_one_or_on_outbound_calls_the_calling_one() -> None:
    assert own_number(AnswerWebhook("c", from_number="+1", to_number="+2", direction="INBOUND")) == "+2"
    assert own_number(AnswerWebhook("c", from_number="+1", to_number="+2", direction="OUTBOUND")) == "+1"
    assert own_number(AnswerWebhook("c", from_number="+1", to_number="+2")) == "+2"
