"""What counts as drift between Redis, memory and sockets."""

from worker.drift import Drift, Sample, lasting

WINDOW_S = 15.0
AGREED = Sample(registry=3, memory=3, sockets=2, attached=2)
LEAKED = Sample(registry=4, memory=3, sockets=2, attached=2)


def run(*samples: Sample, every_s: float = 1.0) -> list[int]:
    """The drift after each sample."""
    drift = Drift(WINDOW_S)
    seen = []
    for n, sample in enumerate(samples):
        drift.add(sample, n * every_s)
        seen.append(drift.calls)
    return seen


def test_what_differs_for_a_whole_window_is_drift():
    assert run(*[LEAKED] * 17) == [0] * 15 + [1, 1]


def test_what_was_equal_once_within_the_window_is_none():
    assert max(run(*[LEAKED] * 10, AGREED, *[LEAKED] * 15)) == 0


def test_it_is_gone_with_the_first_sample_that_agrees():
    assert run(*[LEAKED] * 17, AGREED)[-1] == 0


def test_calls_that_come_and_go_all_the_time_are_no_drift():
    attaching = Sample(registry=3, memory=2, sockets=2, attached=2)
    ending = Sample(registry=2, memory=3, sockets=2, attached=2)
    assert max(run(*[attaching, ending] * 20)) == 0


def test_streams_that_nobody_has_are_drift_and_add_to_it():
    both = Sample(registry=5, memory=3, sockets=6, attached=3)
    assert run(*[both] * 16)[-1] == 5


def test_a_missing_slot_does_not_hide_a_stream_too_many():
    crossed = Sample(registry=2, memory=3, sockets=4, attached=3)
    assert run(*[crossed] * 16)[-1] == 2


def test_a_call_that_waits_for_its_carrier_is_none():
    assert max(run(*[Sample(registry=1, memory=1, sockets=0, attached=0)] * 30)) == 0


def test_after_the_registry_was_away_the_window_begins_anew():
    drift = Drift(WINDOW_S)
    for n in range(16):
        drift.add(LEAKED, n)
    assert drift.calls == 1
    drift.restart()
    assert drift.calls == 0
    drift.add(LEAKED, 20)
    drift.add(LEAKED, 34)
    assert drift.calls == 0
    drift.add(LEAKED, 35)
    assert drift.calls == 1


def test_what_lasts_is_the_smallest_on_one_side():
    assert (lasting([2, 1, 3]), lasting([-2, -3]), lasting([1, -1]), lasting([0, 5]), lasting([])) == (1, 2, 0, 0, 0)
