"""Culprits, not passengers: which call killed its workers."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.calls.culprit import Judgement, PastSession, Verdict, judge, must_wait_for_note, past_sessions
from shared.calls.record import CallRecord
from shared.fleet.death import DeathCause, DeathNote

OWN_DOING = (DeathCause.CRASHED, DeathCause.FROZEN, DeathCause.MEMORY)
YOUNG, OLD = 300, 20_000


def session(number: int, age_ms: int = YOUNG, worker_id: str = "") -> PastSession:
    """The call's session of that number, which lasted for so long: each in a start of its own."""
    since_ms = number * 100_000
    return PastSession(f"{worker_id or f'w{number}'}@{number}", since_ms, since_ms + age_ms)


def note(of: PastSession, cause: DeathCause, call_id: str = "") -> DeathNote:
    worker_id, _, started_at_ms = of.seat.rpartition("@")
    return DeathNote(worker_id, int(started_at_ms), of.left_at_ms, cause, call_id)


def verdict(
    *deaths: tuple[DeathCause | None, str, int], retries: int = 1, living: Sequence[str] = ()
) -> tuple[Verdict, int]:
    """Of the call "c" with these deaths: cause (None: no note), whom the note names, age of the session."""
    sessions = [session(number, age_ms) for number, (_, _, age_ms) in enumerate(deaths, 1)]
    notes = {of.seat: note(of, cause, named) for of, (cause, named, _) in zip(sessions, deaths, strict=True) if cause}
    judged = judge(sessions, notes, living, call_id="c", retries=retries)
    return judged.verdict, len(judged.outlived)


PASSENGER, SUSPECT, CONVICTED = (Verdict.PASSENGER, 0), (Verdict.SUSPECT, 1), (Verdict.CONVICTED, 2)
CRASHED, FROZEN, OUTSIDE = DeathCause.CRASHED, DeathCause.FROZEN, DeathCause.OUTSIDE


@pytest.mark.parametrize(
    ("deaths", "expected"),
    [
        ([], PASSENGER),
        ([(CRASHED, "c", YOUNG)], SUSPECT),
        ([(CRASHED, "c", OLD)], SUSPECT),
        ([(FROZEN, "c", OLD)], SUSPECT),
        ([(DeathCause.MEMORY, "c", OLD)], SUSPECT),
        ([(CRASHED, "another", YOUNG)], PASSENGER),
        ([(CRASHED, "", YOUNG)], SUSPECT),
        ([(CRASHED, "", OLD)], PASSENGER),
        ([(OUTSIDE, "", YOUNG)] * 8, PASSENGER),
        ([(OUTSIDE, "c", YOUNG)] * 8, PASSENGER),
        ([(DeathCause.ENDED, "", YOUNG)] * 8, PASSENGER),
        ([(CRASHED, "c", OLD), (CRASHED, "c", YOUNG)], CONVICTED),
        ([(CRASHED, "", YOUNG), (FROZEN, "", YOUNG)], CONVICTED),
        ([(CRASHED, "", YOUNG), (FROZEN, "another", YOUNG)], SUSPECT),
        ([(FROZEN, "c", OLD), (OUTSIDE, "", OLD), (FROZEN, "c", OLD)], CONVICTED),
        ([(CRASHED, "another", YOUNG)] * 5, PASSENGER),
        # nothing is known of them: the machine died
        ([(None, "", YOUNG)] * 2, PASSENGER),
        ([(None, "", YOUNG)] * 3, SUSPECT),
        ([(None, "", YOUNG)] * 4, CONVICTED),
        ([(None, "", OLD)] * 8, PASSENGER),
        ([(None, "", YOUNG), (None, "", OLD), (None, "", YOUNG), (None, "", YOUNG)], PASSENGER),
        ([(None, "", YOUNG), (None, "", YOUNG), (OUTSIDE, "", YOUNG), (None, "", YOUNG)], PASSENGER),
        ([(None, "", YOUNG), (None, "", YOUNG), (CRASHED, "c", YOUNG)], SUSPECT),
    ],
)
def test_the_verdict(deaths: list[tuple[DeathCause | None, str, int]], expected: tuple[Verdict, int]) -> None:
    assert verdict(*deaths) == expected


def test_with_no_retry_the_first_attributed_death_convicts() -> None:
    assert verdict((CRASHED, "c", YOUNG), retries=0) == (Verdict.CONVICTED, 1)
    assert verdict((OUTSIDE, "c", YOUNG), retries=0) == PASSENGER


def test_no_setting_lets_a_call_kill_a_third_worker() -> None:
    assert verdict((CRASHED, "c", YOUNG), (CRASHED, "c", YOUNG), retries=9) == CONVICTED


def test_a_start_that_still_has_its_lease_and_no_note_is_no_death() -> None:
    """A partition, or a freeze that woke, however often."""
    unknown = (None, "", YOUNG)
    assert verdict(*[unknown] * 5, living=[f"w{number}@{number}" for number in range(1, 6)]) == PASSENGER


def test_a_freeze_is_as_old_as_the_session_was_when_it_began() -> None:
    """The watchdog waits for seconds: what counts is when the loop stood still, not when it was killed."""
    lost = session(1, age_ms=YOUNG + 6_000)
    began = DeathNote("w1", 1, lost.since_ms + YOUNG, FROZEN)
    assert judge([lost], {lost.seat: began}, [], call_id="c").verdict is Verdict.SUSPECT


def test_the_workers_that_it_outlived_are_named_in_order() -> None:
    sessions = [session(1, worker_id="b"), session(2, worker_id="between"), session(3, worker_id="a@b")]
    causes = [CRASHED, OUTSIDE, FROZEN]
    notes = {of.seat: note(of, cause, "c") for of, cause in zip(sessions, causes, strict=True)}
    assert judge(sessions, notes, [], call_id="c") == Judgement(Verdict.CONVICTED, ("b", "a@b"))


def test_what_a_record_says_is_read_and_what_it_says_wrongly_is_left_out() -> None:
    record = CallRecord("c", worker_id="w2", seat="w2@9", seated_at_ms=70, deaths="a/b@3/10/20 nonsense w@1/x/3")
    assert past_sessions(record, 99) == [PastSession("a/b@3", 10, 20), PastSession("w2@9", 70, 99)]
    at_a_worker_that_names_none = CallRecord("c", worker_id="w3", seat="w2@9", seated_at_ms=70)
    assert past_sessions(at_a_worker_that_names_none, 99) == [PastSession("w2@9", 70, 99)]
    assert past_sessions(CallRecord("c", worker_id="w3"), 99) == []


def test_only_the_young_and_those_with_a_doubtful_past_wait_for_the_note() -> None:
    young, old, second = session(1), session(1, OLD), session(2, OLD)
    assert must_wait_for_note([young], {}, "c")
    assert not must_wait_for_note([old], {}, "c")
    assert must_wait_for_note([old, second], {}, "c")
    assert must_wait_for_note([old, second], {old.seat: note(old, CRASHED, "c")}, "c")
    assert not must_wait_for_note([old, second], {old.seat: note(old, CRASHED, "another")}, "c")
    assert not must_wait_for_note([old, second], {old.seat: note(old, DeathCause.ENDED)}, "c"), "it was handed over"
    assert not must_wait_for_note([young], {young.seat: note(young, OUTSIDE)}, "c")
    assert not must_wait_for_note([], {}, "c")


DEATHS = st.lists(
    st.tuples(st.sampled_from([None, *DeathCause]), st.sampled_from(["", "c", "another"]), st.integers(0, 60_000)),
    max_size=16,
)


@given(st.lists(st.tuples(st.just(OUTSIDE), st.sampled_from(["", "c", "other"]), st.integers(0, 60_000)), max_size=16))
def test_kills_from_outside_convict_nobody(deaths: list[tuple[DeathCause | None, str, int]]) -> None:
    assert verdict(*deaths, retries=0) == PASSENGER


@given(st.lists(st.tuples(st.sampled_from(OWN_DOING), st.just("another"), st.integers(0, 60_000)), max_size=16))
def test_a_passenger_of_another_culprit_is_never_touched(deaths: list[tuple[DeathCause | None, str, int]]) -> None:
    assert verdict(*deaths, retries=0) == PASSENGER


@given(DEATHS, st.integers(0, 1))
def test_a_call_is_convicted_at_its_second_attributed_death_at_the_latest(
    deaths: list[tuple[DeathCause | None, str, int]], retries: int
) -> None:
    """As it happens: judged after each death, it never outlives more workers than it may."""
    for known in range(len(deaths) + 1):
        found, outlived = verdict(*deaths[:known], retries=retries)
        assert outlived <= 1 + retries
        assert (found is Verdict.CONVICTED) == (outlived > retries)
        if found is Verdict.CONVICTED:
            return


@given(DEATHS)
def test_a_passenger_has_no_death_that_names_it(deaths: list[tuple[DeathCause | None, str, int]]) -> None:
    names_it = sum(cause in OWN_DOING and named == "c" for cause, named, _ in deaths)
    found, outlived = verdict(*deaths)
    assert outlived >= names_it
    assert (found is Verdict.PASSENGER) == (outlived == 0)
