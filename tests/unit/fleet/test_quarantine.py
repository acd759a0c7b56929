"""Which workers a quarantined bot's new calls are kept from, and which one a fleet keeps that has nothing else."""

from shared.fleet.quarantine import Quarantine, is_barred, is_in_force, kept_worker
from shared.fleet.worker import WorkerRecord, WorkerState, WorkerView

NOW_MS = 1_000
BAD = {"m:bad": Quarantine("m:bad", 1, ("1",))}


def worker(
    worker_id: str,
    builds: dict[str, str],
    state: WorkerState = WorkerState.SERVING,
    lease_until_ms: int = NOW_MS + 1,
) -> WorkerView:
    return WorkerView(WorkerRecord(worker_id, "127.0.0.1:1", state, 5, builds=builds), 0, lease_until_ms)


def test_only_the_quarantined_build_of_the_bot_is_barred() -> None:
    assert is_barred(worker("w", {"m:bad": "1", "m:good": "1"}).record, "m:bad", BAD)
    assert not is_barred(worker("w", {"m:bad": "1", "m:good": "1"}).record, "m:good", BAD)
    assert not is_barred(worker("w", {"m:bad": "2"}).record, "m:bad", BAD), "it was deployed anew"
    assert not is_barred(worker("w", {}).record, "m:bad", BAD), "the version before says nothing of builds: another one"


def test_a_bot_that_was_convicted_at_workers_without_builds_is_barred_there() -> None:
    assert is_barred(worker("w", {}).record, "m:bad", {"m:bad": Quarantine("m:bad", 1, ("",))})


def test_a_fleet_with_another_bot_keeps_no_worker_for_the_bad_one() -> None:
    assert kept_worker([worker("a", {"m:bad": "1"}), worker("b", {"m:bad": "1", "m:good": "1"})], BAD, NOW_MS) == ""
    assert kept_worker([worker("a", {"m:bad": "1"}), worker("b", {"m:bad": "2"})], BAD, NOW_MS) == "", "half deployed"
    assert kept_worker([worker("a", {"m:bad": "1"}), worker("b", {})], BAD, NOW_MS) == "", (
        "who knows what that one runs"
    )


def test_a_fleet_with_nothing_else_keeps_the_first_that_serves() -> None:
    silent = worker("a", {"m:bad": "1"}, lease_until_ms=NOW_MS)
    drains = worker("b", {"m:good": "1"}, WorkerState.DRAINING)
    served = [worker("d", {"m:bad": "1"}), worker("c", {"m:bad": "1"})]
    assert kept_worker([silent, drains, *served], BAD, NOW_MS) == "c"
    assert not is_barred(served[1].record, "m:bad", BAD, "c")
    assert is_barred(served[0].record, "m:bad", BAD, "c")
    both = BAD | {"m:worse": Quarantine("m:worse", 1, ("1",))}
    assert kept_worker([worker("c", {"m:bad": "1", "m:worse": "1"})], both, NOW_MS) == "c", "all its bots are"
    assert kept_worker([], BAD, NOW_MS) == kept_worker(served, {}, NOW_MS) == ""


def test_a_quarantine_is_in_force_while_a_worker_has_the_build() -> None:
    assert is_in_force(BAD["m:bad"], [worker("a", {"m:bad": "2"}), worker("b", {"m:bad": "1"})], NOW_MS)
    assert not is_in_force(BAD["m:bad"], [worker("a", {"m:bad": "2"})], NOW_MS)
    assert not is_in_force(BAD["m:bad"], [worker("b", {"m:bad": "1"}, lease_until_ms=NOW_MS)], NOW_MS)
