"""The record of a call, by itself."""

import pytest

from shared.calls.outcome import RESULT_OF, Reason, Result
from shared.calls.record import CallRecord
from shared.calls.state import MOVES, CallEvent, CallState


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_result(reason: Reason) -> None:
    assert CallRecord("c-1", reason=reason).result is RESULT_OF[reason]


def test_a_reason_of_a_newer_version_is_shown_and_breaks_nothing() -> None:
    """During a rolling deploy one such record made every listing of calls fail, and stopped housekeeping's outbox."""
    record = CallRecord("c-1", CallState.ENDED, reason="abducted")
    assert record.result is None
    assert (record.to_dict()["reason"], record.to_dict()["result"]) == ("abducted", "")


def test_a_call_that_lives_has_no_result() -> None:
    assert CallRecord("c-1", CallState.ACTIVE).result is None


def test_the_end_is_for_good_and_can_come_from_everywhere() -> None:
    leaving = {(event, after) for event, moves in MOVES.items() if (after := moves.get(CallState.ENDED))}
    assert leaving == {(CallEvent.CARRIER_ENDED, CallState.ENDED)}
    assert set(MOVES[CallEvent.END]) == set(CallState) - {CallState.ENDED}


def test_a_call_that_was_not_connected_to_us_is_not_called_completed() -> None:
    assert RESULT_OF[Reason.NO_ANSWER] is Result.UNANSWERED
