"""`sfvopi bench capacity`: what it says and asks before, and what it writes."""

from pathlib import Path

import pytest

from shared.cli.bench.env_file import with_setting, write_setting
from shared.cli.faults import CliFault

NAME = "SFVOPI_CALLS_PER_WORKER"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "SFVOPI_CALLS_PER_WORKER=38\n"),
        ("A=1\nB=2", "A=1\nB=2\nSFVOPI_CALLS_PER_WORKER=38\n"),
        ("A=1\nSFVOPI_CALLS_PER_WORKER=10\nB=2\n", "A=1\nSFVOPI_CALLS_PER_WORKER=38\nB=2\n"),
        ("export SFVOPI_CALLS_PER_WORKER = 10\nSFVOPI_CALLS_PER_WORKER=11\n", "SFVOPI_CALLS_PER_WORKER=38\n"),
        ("# SFVOPI_CALLS_PER_WORKER=5\n", "# SFVOPI_CALLS_PER_WORKER=5\nSFVOPI_CALLS_PER_WORKER=38\n"),
        ("SFVOPI_CALLS_PER_WORKER_X=5\n", "SFVOPI_CALLS_PER_WORKER_X=5\nSFVOPI_CALLS_PER_WORKER=38\n"),
    ],
)
def test_a_setting_stands_once_and_all_else_stays(before: str, after: str) -> None:
    assert with_setting(before, NAME, "38") == after
    assert with_setting(after, NAME, "38") == after


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(CliFault, match=r"cannot write SFVOPI_CALLS_PER_WORKER=3 to .*no/\.env"):
        write_setting(tmp_path / "no" / ".env", NAME, "3")


def test_with_a_providers_key_it_says_what_it_may_cost_and_starts_nothing_unless_told(sfvopi) -> None:
    result = sfvopi(
        *("bench", "capacity", "--bot", "worker.bots.receptionist:bot", "--most", "7", "--call-minutes", "9"),
        DEEPGRAM_API_KEY="a-key",
    )
    assert result.exit_code == 2
    assert "at most 7 calls at once and 9 minutes of all calls together, with deepgram" in result.stderr
    assert "agree with --yes" in result.stderr


def test_a_bot_that_is_not_there_is_named_before_anything_starts(sfvopi) -> None:
    result = sfvopi("bench", "capacity", "--bot", "no_such_module:bot")
    assert result.exit_code == 2
    assert "there is no module no_such_module" in result.stderr
