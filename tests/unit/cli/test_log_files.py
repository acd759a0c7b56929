"""Log files of a local fleet: followed, and told in a line."""

import json

from shared.cli.fleet.log_files import Follower, level_of, parse_line, read_lines, tell


def test_a_log_line_is_told_in_short_with_the_last_line_of_its_exception():
    line = {
        "timestamp": "2025-01-01T10:00:00Z",
        "level": "error",
        "logger": "worker.session",
        "event": "the bot raised",
        "call_id": "c1",
        "exception": "Traceback …\nValueError: no",
    }
    told = tell("worker-1", parse_line(json.dumps(line)))
    assert told.endswith("worker-1     the bot raised call_id=c1 ValueError: no")
    assert level_of(line) == 40


def test_of_an_exception_the_place_where_it_was_raised_is_told_and_its_message_where_the_line_has_it():
    line = {"event": "booking failed", "exception": "KeyError", "frames": ["/lib/a.py:1 run", "/me/bot.py:7 book"]}
    assert tell("worker-1", line).endswith("booking failed KeyError at /me/bot.py:7 book")
    assert tell("w", {**line, "error": "KeyError: 'x'"}).endswith("booking failed KeyError: 'x' at /me/bot.py:7 book")


def test_what_is_no_log_line_is_told_as_it_is_and_counts_as_a_warning():
    fields = parse_line("Segmentation fault")
    assert tell("worker-1", fields).strip() == "worker-1     Segmentation fault"
    assert level_of(fields) == 30


def test_a_follower_brings_each_line_once_and_waits_for_the_rest_of_an_unfinished_one(tmp_path):
    path = tmp_path / "gateway.jsonl"
    follower = Follower({"gateway": path})
    assert list(follower.new_lines()) == []
    path.write_text('{"event": "a"}\n{"event":')
    assert [fields for _, fields in follower.new_lines()] == [{"event": "a"}]
    with path.open("a") as file:
        file.write(' "b"}\n')
    assert [fields for _, fields in follower.new_lines()] == [{"event": "b"}]
    assert list(follower.new_lines()) == []
    assert len(read_lines(path)) == 2
    assert read_lines(tmp_path / "none") == []
