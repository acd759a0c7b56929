"""The whole benchmark ends in time, by its own arithmetic."""

from tests.bench import programme
from tests.bench.hold import START_S, takes_s
from worker.capacity import ramp
from worker.capacity.trial import LATE_ANSWERS_S, SETTLE_S

ONE_HOLD_S = SETTLE_S + ramp.HOLD_S + LATE_ANSWERS_S


def search_s(name: str, broke_at: int, holds: int, one_call_s: float = ramp.ONE_CALL_S) -> float:
    """How long a search takes that ends with so many holds."""
    surely = programme.SURELY.get(name, 0)
    return START_S + one_call_s + LATE_ANSWERS_S + surely / ramp.SURELY_PER_S + broke_at - surely + holds * ONE_HOLD_S


def test_a_full_run_leaves_four_holds_to_a_worker_of_ours_that_carries_sixty() -> None:
    searches = list(programme.in_rounds(programme.usual_subjects(), programme.ROUNDS))
    fixed_s = sum(takes_s(name, 20, 20) for name in searches) + takes_s(programme.ECHO, programme.MOST_EXPECTED, 20)
    taken = {
        "guide": search_s("guide", 4, 3),
        "guide-no-smart-turn": search_s("guide-no-smart-turn", 15, 4),
        "ours-direct": search_s("ours-direct", 62, 4),
        "ours-relayed": search_s("ours-relayed", 45, 4),
        "ours-smart-turn": search_s("ours-smart-turn", 45, 4),
        "echo": search_s("echo", 120, 1),
    }
    again_s = (ramp.ONE_CALL_S - programme.AGAIN_ONE_CALL_S) * (len(searches) - len(taken))
    assert sum(taken[name] for name in searches) - again_s + fixed_s <= programme.FULL_S
    assert programme.FULL_S + 60 <= 45 * 60


def test_a_quick_run_has_time_for_three_holds_of_each_and_for_the_echo() -> None:
    guide_until, ours_until = programme.QUICK_UNTIL_S.values()
    one_s = programme.QUICK_ONE_CALL_S
    assert search_s("guide-no-smart-turn", 15, 3, one_s) <= guide_until
    assert search_s("ours-direct", 46, 3, one_s) <= ours_until - guide_until
    assert ours_until + takes_s("echo", 60, programme.QUICK_ECHO_S) <= 300
