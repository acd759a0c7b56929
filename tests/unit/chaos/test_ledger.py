"""The chaos suite's ledger: what it counts, what it promises, and that what nobody measured is no promise kept."""

import json
from typing import Any

import pytest

from shared.carrier.report import CallOutcome, CallReport
from tests.chaos.caller import Caller, Knowledge, Manner, Verdict
from tests.chaos.ledger import SceneResult, disagreement, total
from tests.chaos.tables import markdown
from tests.fakes.tones import APOLOGY

BEGAN_MS = 1_800_000_000_000
HIT_MS = BEGAN_MS + 5_000


def caller(
    *, hit: bool = False, knows: bool | None = True, gap_ms: float | None = 400, manner: Manner | None = None
) -> Caller:
    """One that completed its call; `knows` None: it was never told who it is, so its call was dropped."""
    one = Caller(3, "worker killed", "relayed", manner or Manner(), lambda: True)
    one.fault_at_ms = HIT_MS if hit else 0
    sounds = [(100.0, 900.0)] + ([(5_000 + gap_ms, 6_500.0)] if gap_ms is not None else [])
    one.report = CallReport(
        outcome=CallOutcome.COMPLETED, ended_by="bot", started_at_ms=BEGAN_MS, sounds_ms=sounds, webhook_status=200
    )
    one.is_known = True
    if knows is not None:
        one.heard, one.heard_at_ms = [Knowledge.KNOWN if knows else Knowledge.STRANGE], [HIT_MS + 2_000]
    return one


def refused() -> Caller:
    one = Caller(4, "burst", "relayed", Manner(), lambda: True)
    one.report = CallReport(outcome=CallOutcome.REFUSED)
    return one


def convicted() -> Caller:
    """Its bot killed its workers; it heard the apology."""
    one = Caller(5, "poisonous", "relayed", Manner(is_poisonous=True), lambda: True)
    one.report = CallReport(outcome=CallOutcome.COMPLETED, ended_by="bot", close_code=1000)
    one.voices = {APOLOGY: 1.5}
    return one


def cut(code: int | None, **what: Any) -> Caller:
    """Its stream was closed, or refused when it came again."""
    one = Caller(6, "worker killed", "relayed", Manner(), lambda: True)
    one.report = CallReport(outcome=CallOutcome.FAILED, ended_by="network", close_code=code, **what)
    return one


def scene(*callers: Caller, path: str = "relayed", **how: Any) -> SceneResult:
    looked_at: dict[str, Any] = {"over_admitted": 0, "leaked_slots": 0, "drift": 0, "counts_gap": True, **how}
    return SceneResult("worker killed", path, list(callers), **looked_at)


def report(*scenes: SceneResult) -> dict[str, Any]:
    return total(scenes, [], 500)


def test_offered_is_completed_and_refused_and_dropped() -> None:
    told = report(scene(caller(), caller(knows=None), refused()))
    assert (told["offered"], told["completed"], told["refused"], told["dropped"]) == (3, 1, 1, 1)
    assert told["promises"]["ledger_balances"] is True
    assert told["promises"]["none_dropped"] is False


def test_what_nobody_measured_is_not_kept() -> None:
    told = report(scene(caller()))
    assert told["promises"]["gap_direct"] is None
    assert told["promises"]["gap_relayed"] is None, "nobody was hit"
    assert told["promises"]["resumed"] is None
    assert {"gap_direct", "gap_relayed", "resumed"} <= set(told["not_measured"])
    assert told["kept"]


def test_a_run_without_a_scene_keeps_nothing() -> None:
    told = report(SceneResult("rolling restart", "relayed", is_skipped="there is none"))
    assert not told["kept"]
    assert set(told["promises"].values()) == {None}
    assert told["skipped"] == ["rolling restart (relayed)"]


def test_a_drift_that_nobody_knows_is_a_promise_broken() -> None:
    told = report(scene(caller()), scene(caller(), drift=None, leaked_slots=None, over_admitted=None))
    assert (told["drift"], told["leaked_slots"], told["over_admitted"]) == (None, None, None)
    assert [told["promises"][name] for name in ("no_drift", "no_slot_leaked", "never_over_admitted")] == [False] * 3
    assert not told["kept"]


def test_a_scene_played_again_keeps_the_worst_and_does_not_forget_what_was_unknown() -> None:
    whole = SceneResult("worker killed", "relayed")
    for drift, leaked in ((0, 1), (2, 1), (1, 0)):
        whole.add(scene(caller(), drift=drift, leaked_slots=leaked))
    assert (whole.drift, whole.leaked_slots, whole.over_admitted, whole.offered) == (2, 2, 0, 3)
    whole.add(scene(caller(), drift=None))
    whole.add(scene(caller()))
    assert whole.drift is None


def test_a_slot_leaked_in_one_scene_is_not_made_up_for_in_another() -> None:
    assert report(scene(caller(), leaked_slots=1), scene(caller()))["leaked_slots"] == 1


def test_one_in_a_hundred_hit_calls_may_begin_afresh() -> None:
    hit = [caller(hit=True) for _ in range(99)]
    told = report(scene(*hit, caller(hit=True, knows=False)))
    assert (told["resumed"], told["fresh"], told["promises"]["resumed"]) == (99, 1, True)
    told = report(scene(*hit[:98], *[caller(hit=True, knows=False)] * 2))
    assert told["promises"]["resumed"] is False


def test_a_hit_call_that_was_dropped_did_not_go_on() -> None:
    told = report(scene(*[caller(hit=True) for _ in range(9)], caller(hit=True, knows=None)))
    assert (told["hit"], told["resumed"], told["fresh"], told["dropped"]) == (10, 9, 0, 1)
    assert told["promises"]["resumed"] is False


def test_what_a_caller_was_told_before_the_fault_shows_nothing() -> None:
    one = caller(hit=True)
    one.heard_at_ms = [HIT_MS - 1]
    assert one.is_resumed is None
    assert report(scene(one))["promises"]["resumed"] is False


def test_gaps_are_judged_by_path_and_a_carrier_that_reconnects_has_its_own_delay() -> None:
    relayed, direct = (scene(caller(hit=True, gap_ms=1_600), path=path) for path in ("relayed", "direct"))
    told = report(relayed, direct)
    assert (told["gap_p95_ms_relayed"], told["promises"]["gap_relayed"]) == (1_600, False)
    assert (told["gap_p95_ms_direct"], told["promises"]["gap_direct"]) == (1_600, True)


def test_who_never_heard_another_session_has_waited_for_ever() -> None:
    told = report(scene(*[caller(hit=True, gap_ms=None) for _ in range(2)], caller(hit=True)))
    assert told["promises"]["gap_relayed"] is False
    assert told["gap_p95_ms"] is None


def test_gaps_of_scenes_that_promise_none_do_not_count() -> None:
    told = report(scene(caller(hit=True, gap_ms=4_000), counts_gap=False))
    assert (told["gap_p95_ms"], told["promises"]["gap_relayed"], told["promises"]["resumed"]) == (None, None, None)


def test_a_call_whose_carrier_lets_it_go_is_told_apart_and_not_hit() -> None:
    lost = caller(hit=True, knows=None, manner=Manner(may_be_lost=True))
    told = report(scene(lost, drops_allowed=True, counts_gap=False))
    assert (told["dropped"], told["dropped_as_expected"], told["hit"]) == (1, 1, 0)
    assert told["promises"]["none_dropped"] is True
    assert report(scene(lost))["promises"]["none_dropped"] is False


def test_a_promise_of_a_scenes_own_counts() -> None:
    assert report(scene(caller(), broken=["a new call was placed on a worker that drains"]))["kept"] is False


def test_the_report_is_json_and_has_what_is_promised_of_it() -> None:
    told = json.loads(json.dumps(report(scene(caller(hit=True, gap_ms=None))), allow_nan=False))
    named = "offered completed refused dropped resumed fresh gap_p95_ms over_admitted leaked_slots drift"
    assert set(named.split()) <= set(told)


def test_the_table_for_documents_has_one_row_a_scene_and_one_for_all() -> None:
    scenes = [scene(caller(hit=True)), scene(caller(), drift=None), SceneResult("burst", "direct", is_skipped="no")]
    told = report(*scenes)
    lines = markdown({**told, "scenes": [one.to_dict() for one in scenes]}).splitlines()
    assert len(lines) == 2 + 2 + 1
    assert len({line.count("|") for line in lines}) == 1
    assert lines[3].endswith("| 0 | 0 | – |")


@pytest.mark.parametrize(
    ("one", "result", "reason", "agrees"),
    [
        (caller(), "completed", "caller_hung_up", True),
        (caller(), "", "", True),  # its hangup webhook was lost: it is still to be ended
        (caller(), "failed", "worker_lost", False),
        (refused(), "refused", "busy_message", True),
        (refused(), "completed", "caller_hung_up", False),
        (convicted(), "failed", "poisonous", True),
        (convicted(), "failed", "worker_lost", False),
        (convicted(), "", "", False),
        (cut(1011), "completed", "caller_hung_up", False),
        (cut(1011), "failed", "worker_lost", True),
        (cut(None, upgrade_status=503), "completed", "caller_hung_up", False),
        (cut(1006), "completed", "stream_closed", True),  # the network's doing
    ],
)
def test_a_record_must_say_what_its_caller_heard(one: Caller, result: str, reason: str, agrees: bool) -> None:
    told = disagreement(one, {"result": result, "reason": reason})
    assert (not told) is agrees, told


def test_a_poisonous_call_without_the_apology_is_dropped() -> None:
    silent = convicted()
    silent.voices = {}
    assert silent.verdict is Verdict.DROPPED
    assert report(scene(convicted(), caller()))["promises"]["ledger_balances"] is True


def test_one_disagreement_is_a_promise_broken() -> None:
    assert report(scene(caller()))["promises"]["records_agree"] is True
    assert report(scene(caller(), disagreements=["c-1: …"]))["promises"]["records_agree"] is False
