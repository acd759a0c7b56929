"""Which ending is due: one view of a session, one answer."""

from dataclasses import replace

import pytest

from shared.calls.outcome import Reason
from worker.ending import CLOSE_CODES, MANNERS, Ending, FirstEnding, Limits, View, overdue
from worker.provider_health import Failure, Service

LIMITS = Limits(window_s=10, idle_s=60, max_s=600, end_grace_s=5)
LIVING = View(
    now=1000.0,
    began_at=900.0,
    has_started=True,
    detached_at=None,
    attached_at=900.0,
    last_activity_at=990.0,
    quiet_at=0.0,
    end_seen_at=None,
    is_at_work=False,
    given_up=None,
)
DOWN = Failure("openai", "auth", Service.LLM, is_dead=True)


def test_a_living_call_has_no_ending():
    assert overdue(LIVING, LIMITS) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"detached_at": 990.0}, Reason.STREAM_CLOSED),
        ({"detached_at": 990.0, "has_started": False}, Reason.NO_START),
        ({"began_at": 400.0}, Reason.MAX_DURATION),
        ({"given_up": DOWN}, Reason.PROVIDER_ERROR),
        ({"end_seen_at": 994.0}, Reason.STUCK),
        ({"end_seen_at": 994.0, "is_at_work": True}, Reason.BOT_ENDED),
        ({"last_activity_at": 940.0}, Reason.IDLE),
    ],
)
def test_what_is_overdue_ends_the_call(changes, reason):
    ending = overdue(replace(LIVING, **changes), LIMITS)
    assert ending is not None
    assert ending.reason is reason


@pytest.mark.parametrize(
    "changes",
    [
        {"detached_at": 990.1},
        {"detached_at": 990.1, "end_seen_at": 980.0},  # the goodbye waits for the stream
        {"attached_at": 999.0, "end_seen_at": 980.0},
        {"end_seen_at": 994.0, "quiet_at": 998.0},  # a long goodbye is still being heard
        {"last_activity_at": 900.0, "quiet_at": 999.0},  # the bot speaks
        {"last_activity_at": 900.0, "end_seen_at": 999.0},
        {"last_activity_at": 900.0, "has_started": False},
    ],
)
def test_what_is_not_overdue_does_not(changes):
    assert overdue(replace(LIVING, **changes), LIMITS) is None


async def test_the_first_ending_wins():
    first = FirstEnding()
    assert first.give(Ending(Reason.IDLE))
    assert not first.give(Ending(Reason.CALLER_HUNG_UP))
    assert (await first.wait()).reason is Reason.IDLE


def test_every_reason_with_a_close_code_has_a_manner():
    assert set(CLOSE_CODES) <= set(MANNERS)
