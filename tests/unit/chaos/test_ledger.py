"""The ledger of the chaos suite claims nothing that was not measured."""

from tests.chaos.caller import Caller, Manner
from tests.chaos.ledger import UNKNOWN, SceneResult, total


def caller() -> Caller:
    """One that was never answered: dropped."""
    return Caller(1, "a scene", "relayed", Manner(), lambda: True)


def test_what_was_not_measured_is_neither_kept_nor_broken() -> None:
    promises = total([SceneResult("a scene", "relayed")], [], 500)["promises"]
    assert promises["gap_relayed"] is promises["gap_direct"] is promises["resumed"] is None
    assert promises["none_dropped"] is True


def test_a_call_that_nobody_answered_is_dropped_and_breaks_its_promise() -> None:
    told = total([SceneResult("a scene", "relayed", [caller()])], [], 500)
    assert (told["offered"], told["dropped"], told["kept"]) == (1, 1, False)
    assert told["promises"]["none_dropped"] is False
    assert told["promises"]["ledger_balances"] is True


def test_what_nobody_could_count_is_not_zero() -> None:
    unknown, none = SceneResult("a", "relayed", drift=UNKNOWN, leaked_slots=UNKNOWN), SceneResult("b", "relayed")
    none.add(unknown)
    for scenes in ([unknown, SceneResult("c", "direct", drift=3, leaked_slots=1)], [none]):
        told = total(scenes, [], 500)
        assert (told["drift"], told["leaked_slots"], told["kept"]) == (UNKNOWN, UNKNOWN, False)


def test_a_secret_in_a_log_breaks_the_run() -> None:
    assert total([], ["worker-1.jsonl: a token"], 500)["promises"]["clean_logs"] is False
