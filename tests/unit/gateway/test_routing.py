"""Where a stream goes: the decision by itself."""

from dataclasses import replace

import pytest

from gateway.admission import IN_LINE
from gateway.routing import AnswerHere, Hold, Refused, Route, decide, decide_without_registry
from shared.calls.record import HELD_DETAIL, CallRecord
from shared.calls.state import CallState
from shared.fleet.worker import WorkerRecord, WorkerState, WorkerView
from shared.sfvopi.closing import Refusal
from shared.sfvopi.formats import PCMA_8K
from shared.tokens import StreamToken

NOW = 1_000_000
TOKEN = StreamToken("c-1", "w1", PCMA_8K, NOW + 60_000, NOW + 3_600_000)
HELD = StreamToken("c-1", IN_LINE, PCMA_8K, NOW + 60_000, NOW + 3_600_000)
BUSY = StreamToken("c-1", "", PCMA_8K, NOW + 60_000, NOW + 60_000)


def worker(
    worker_id: str, *, used: int = 0, state: WorkerState = WorkerState.SERVING, lease_ms: int = 5000
) -> WorkerView:
    return WorkerView(WorkerRecord(worker_id, f"10.0.0.1:{worker_id[1:]}", state, 10), used, NOW + lease_ms)


def record(state: CallState, worker_id: str = "w1") -> CallRecord:
    return CallRecord("c-1", state, worker_id=worker_id)


def test_a_reserved_call_goes_to_the_worker_that_holds_its_slot_even_if_that_is_full() -> None:
    workers = [worker("w1", used=10), worker("w2")]
    assert decide(TOKEN, record(CallState.RESERVED), workers, NOW) == Route("w1", "10.0.0.1:1")


def test_the_record_knows_better_than_the_token_which_worker_it_is() -> None:
    workers = [worker("w1"), worker("w2")]
    assert decide(TOKEN, record(CallState.RESERVED, "w2"), workers, NOW) == Route("w2", "10.0.0.1:2")


@pytest.mark.parametrize("gone", [worker("w1", lease_ms=0), worker("w1", state=WorkerState.DRAINING), None])
def test_a_reserved_call_whose_worker_is_gone_goes_to_the_best_other(gone: WorkerView | None) -> None:
    workers = [view for view in (gone, worker("w2", used=5), worker("w3", used=1)) if view]
    assert decide(TOKEN, record(CallState.RESERVED), workers, NOW) == Route("w3", "10.0.0.1:3")


def test_a_reserved_call_that_nobody_can_take_is_told_to_try_later() -> None:
    assert decide(TOKEN, record(CallState.RESERVED), [], NOW) == Refused(Refusal.UNAVAILABLE, "full")
    drains = [worker("w1", state=WorkerState.DRAINING)]
    assert decide(TOKEN, record(CallState.RESERVED), drains, NOW) == Refused(Refusal.UNAVAILABLE, "draining")


@pytest.mark.parametrize("state", [CallState.ACTIVE, CallState.DETACHED])
@pytest.mark.parametrize("holder", [worker("w1", lease_ms=0), worker("w1", state=WorkerState.DRAINING, used=10)])
def test_a_live_call_goes_back_to_its_session_whatever_its_worker_looks_like(
    state: CallState, holder: WorkerView
) -> None:
    assert decide(TOKEN, record(state), [holder, worker("w2")], NOW) == Route("w1", "10.0.0.1:1")


@pytest.mark.parametrize("state", [CallState.RESERVED, CallState.ACTIVE])
def test_a_call_whose_worker_cannot_run_its_bot_or_is_gone_goes_to_one_that_can(state: CallState) -> None:
    unable, able = (
        replace(view, record=replace(view.record, bots=bots))
        for view, bots in ((worker("w2"), ("m:sales",)), (worker("w3", used=5), ("m:support",)))
    )
    call = replace(record(state, "w2" if state is CallState.RESERVED else "w1"), bot="m:support")
    assert decide(TOKEN, call, [unable, able], NOW) == Route("w3", "10.0.0.1:3")
    assert decide(TOKEN, call, [unable], NOW) == Refused(Refusal.UNAVAILABLE, "full")
    token = replace(TOKEN, bot="m:support")
    assert decide_without_registry(token, [unable, able], NOW) == Route("w3", "10.0.0.1:3")


def test_attach_by_binds_the_first_attachment_only() -> None:
    late = TOKEN.attach_by_ms + 1
    refused = decide(TOKEN, record(CallState.RESERVED), [worker("w1", lease_ms=90_000)], late)
    assert refused == Refused(Refusal.FORBIDDEN, "not_attached_in_time")
    assert isinstance(decide(TOKEN, record(CallState.DETACHED), [worker("w1")], late), Route)


def test_an_ended_call_is_refused_and_of_an_unknown_one_its_worker_decides() -> None:
    assert decide(TOKEN, record(CallState.ENDED), [worker("w1")], NOW) == Refused(Refusal.FORBIDDEN, "ended")
    assert decide(TOKEN, None, [worker("w1")], NOW) == Route("w1", "10.0.0.1:1"), "the registry may have lost it"
    assert decide(TOKEN, None, [worker("w2")], NOW) == Refused(Refusal.UNKNOWN, "unknown_call")
    assert decide(TOKEN, record(CallState.RINGING), [worker("w1")], NOW) == Refused(Refusal.UNKNOWN, "unknown_call")


def test_a_busy_token_is_answered_by_the_gateway_though_its_call_has_ended() -> None:
    assert decide(BUSY, record(CallState.ENDED), [], NOW) == AnswerHere()
    assert decide(BUSY, None, [], BUSY.attach_by_ms + 1) == Refused(Refusal.FORBIDDEN, "not_attached_in_time")


def test_without_the_registry_the_signed_token_and_the_last_known_workers_decide() -> None:
    assert decide_without_registry(TOKEN, [worker("w1", lease_ms=0)], NOW) == Route("w1", "10.0.0.1:1")
    assert decide_without_registry(TOKEN, [], NOW) == Refused(Refusal.UNAVAILABLE, "registry_away")
    assert decide_without_registry(BUSY, [], NOW) == AnswerHere()


@pytest.mark.parametrize("state", [CallState.RINGING, CallState.RESERVED])
def test_a_caller_in_line_is_held_until_he_has_a_worker_or_it_is_too_late(state: CallState) -> None:
    assert decide(HELD, record(state), [worker("w1")], NOW) == Hold(record(state))
    late = decide(HELD, record(state), [worker("w1")], HELD.attach_by_ms + 1)
    assert late == Refused(Refusal.FORBIDDEN, "not_attached_in_time")


def test_a_call_that_was_put_into_line_is_held_whatever_its_token_promised() -> None:
    waiting = replace(record(CallState.RINGING), detail=HELD_DETAIL)
    for at_ms in (NOW, TOKEN.attach_by_ms + 1):
        assert decide(TOKEN, waiting, [worker("w1")], at_ms) == Hold(waiting)


@pytest.mark.parametrize("state", [CallState.ACTIVE, CallState.DETACHED])
def test_once_attached_a_call_from_the_line_goes_to_its_session_however_late(state: CallState) -> None:
    assert decide(HELD, record(state), [worker("w1")], HELD.attach_by_ms + 1) == Route("w1", "10.0.0.1:1")


def test_a_call_from_the_line_that_is_over_is_refused_and_one_that_nobody_can_tell_of_is_held() -> None:
    assert decide(HELD, record(CallState.ENDED), [worker("w1")], NOW) == Refused(Refusal.FORBIDDEN, "ended")
    assert decide(HELD, None, [], NOW) == Hold(None)
    assert decide_without_registry(HELD, [worker("w1")], NOW) == Hold(None)
