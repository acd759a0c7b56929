"""`sfvopi drain` against an API on a real socket, and how a drain is told."""

import json

import pytest

from shared.cli.drain import about, progress, state_of


def test_a_drain_is_followed_until_the_worker_is_gone(sfvopi, api):
    result = sfvopi("drain", "worker-1")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "worker-1: draining, about 40 s left, 1 call",
        "worker-1: draining, some seconds left, 0 calls",
    ]
    assert result.stdout.startswith("worker-1 is gone, after ")


def test_as_json_it_says_whether_the_worker_is_gone(sfvopi, api):
    told = json.loads(sfvopi("drain", "worker-1", "--handover", "--json").stdout)
    assert (told["worker_id"], told["handover"], told["gone"]) == ("worker-1", True, True)


def test_nobody_needs_to_wait(sfvopi, api):
    result = sfvopi("drain", "worker-1", "--no-wait")
    assert (result.exit_code, result.stdout) == (0, "worker-1 drains; see `sfvopi workers`\n")


def test_an_unknown_worker_is_said_to_be_unknown(sfvopi, api):
    result = sfvopi("drain", "nobody")
    assert (result.exit_code, result.stderr) == (1, "error: the gateway says 404: no such worker\n")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "some seconds"),
        (10, "some seconds"),
        (11, "about 20 s"),
        (89, "about 90 s"),
        (125, "about 2 min"),
        (7200, "about 2 h"),
    ],
)
def test_an_expected_time_is_told_as_precisely_as_it_is_known(seconds, told):
    assert about(seconds) == told


def test_a_worker_of_the_version_before_drains_without_an_expected_time():
    worker = {"worker_id": "w", "state": "draining", "used": 2, "capacity": 10, "fresh": True}
    assert (state_of(worker), progress(worker)) == ("draining", "draining, 2 calls")
