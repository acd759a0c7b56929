"""What never stands in a log line, whoever writes it."""

import asyncio
import contextlib
import gc
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from shared.sfvopi.formats import PCMA_8K
from shared.telemetry.logs import get_logger, redact, set_up_logs
from shared.tokens import StreamToken, sign_token

TOKEN = sign_token(StreamToken("550e8400-e29b-41d4-a716-446655440000", "w1", PCMA_8K, 1, 2), "a secret for tests")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("from +918000000001 to", "from +**********01 to"),
        ("?from=%2B918000000001", "?from=%2B**********01"),
        (f"GET /ws/{TOKEN} HTTP", "GET /ws/<token> HTTP"),
        (f"wss://bots.example.com/voice/{TOKEN}", "wss://bots.example.com/voice/<token>"),
        ("POST /webhook/s3cret/answer", "POST /webhook/<secret>/answer"),
        ("POST /webhook/answer", "POST /webhook/answer"),
        ("rediss://user:p%40ss@host:6379/0", "rediss://<credentials>@host:6379/0"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer <secret>"),
        ("api_key=abcdefghijk", "api_key=<secret>"),
        ("call 550e8400-e29b-41d4-a716-446655440000 of worker host-7", None),
        ("2026-01-01T00:00:00.000Z 127.0.0.1:9100", None),
    ],
)
def test_numbers_tokens_and_secrets_are_masked_and_nothing_else(text: str, shown: str | None) -> None:
    assert redact(text) == (text if shown is None else shown)


@contextlib.contextmanager
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[list[dict[str, Any]]]:
    """The lines that are logged meanwhile, as objects, once it is over."""
    root, lines = logging.getLogger(), []
    before = root.handlers[:], root.level
    set_up_logs("gateway", "g-1")
    try:
        yield lines
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        structlog.reset_defaults()
        lines += [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_one_json_object_that_says_which_process_and_which_call(capsys: pytest.CaptureFixture[str]) -> None:
    with logged(capsys) as lines:
        get_logger("test").bind(call_id="c-1").info("served", n=1)
    (line,) = lines
    assert (line["event"], line["call_id"], line["n"]) == ("served", "c-1", 1)
    assert (line["component"], line["process"]) == ("gateway", "g-1")


def speak() -> None:
    try:
        raise KeyError("my card ends in four two four two")
    except KeyError as error:
        raise ValueError("he said: my mother's name is Rose") from error


def test_of_an_exception_it_is_told_what_and_where_but_not_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    with logged(capsys) as lines:
        try:
            speak()
        except ValueError as error:
            get_logger("test").exception("the bot raised")
            get_logger("test").error("side task died", exc_info=error)
            logging.getLogger("some.library").exception("in a library")
    assert "Rose" not in json.dumps(lines)
    assert "four two" not in json.dumps(lines)
    assert [line["exception"] for line in lines] == ["ValueError from KeyError"] * 3
    assert all(line["frames"][-1].endswith(" speak") and "test_logs.py:" in line["frames"][-1] for line in lines)


async def test_a_lost_tasks_exception_keeps_its_words_to_itself(capsys: pytest.CaptureFixture[str]) -> None:
    async def lost() -> None:
        speak()

    with logged(capsys) as lines:
        task = asyncio.create_task(lost())
        await asyncio.wait([task])
        del task
        gc.collect()
    (line,) = lines
    assert (line["event"], line["exception"]) == ("Task exception was never retrieved", "ValueError from KeyError")
    assert "Rose" not in json.dumps(line)


def test_what_a_library_or_an_exception_says_is_masked_too(capsys: pytest.CaptureFixture[str]) -> None:
    with logged(capsys) as lines:
        logging.getLogger("some.library").warning("cannot reach %s", f"ws://10.0.0.1:9100/ws/{TOKEN}")
        try:
            raise ValueError("no such number: +918000000001")
        except ValueError:
            get_logger("test").exception("failed", peers=["+918000000002"], url=f"/stream/{TOKEN}")
    text = json.dumps(lines)
    assert len(lines) == 2
    assert TOKEN not in text
    assert "8000000" not in text
    assert text.count("<token>") == 2
