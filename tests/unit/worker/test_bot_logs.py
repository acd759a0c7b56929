"""What a bot's developer logs arrives whole, with the call's id; what libraries log says nothing of what was said."""

import asyncio
import contextlib
import json
import logging
import runpy
import sys
import threading
import warnings
from pathlib import Path

import pipecat
import pytest
import structlog
from loguru import logger

from shared.settings import WorkerSettings
from shared.telemetry.logs import set_up_logs
from worker.bot_logs import Owner, Owners, logs_of_bots
from worker.pipecat_logs import without_speech

HEAD = """
import logging, sys, traceback, warnings
import structlog
from loguru import logger
log = logging.getLogger("my_bot.orders")
def fails():
    raise ValueError("he said: my pin is 1234")
"""
# What a bot writes, and what of it must stand in a line: the event, and more fields.
MEMBERS = {
    "loguru, as in Pipecat's examples": ('logger.info("found [3] rooms")', "found [3] rooms", {}),
    "loguru, braces": (
        """logger.warning("order {'id': 7} failed: no such order")""",
        "order {'id': 7} failed: no such order",
        {},
    ),
    "loguru, formatted": ('logger.info("found {} of {n}", 3, n=7)', "found 3 of 7", {"extra": {"n": 7}}),
    "loguru, bound": ('logger.bind(order=7).info("paid")', "paid", {"extra": {"order": 7}}),
    "loguru, success": ('logger.success("booked")', "booked", {"level": "info"}),
    "loguru, critical": ('logger.critical("no rooms")', "no rooms", {"level": "critical"}),
    "loguru, many lines": (r'logger.info("a\nb\n  c: [1]")', "a\nb\n  c: [1]", {}),
    "loguru, an error's own text": (
        'logger.error("booking failed: timeout after 3 s")',
        "booking failed: timeout after 3 s",
        {},
    ),
    "loguru, percent": ('logger.info("100 % of %s")', "100 % of %s", {}),
    "logging": ('log.info("items=%s", [1, 2])', "items=[1, 2]", {"logger": "my_bot.orders"}),
    "logging, extra": ('log.warning("paid", extra={"order": {"id": 7}})', "paid", {"extra": {"order": {"id": 7}}}),
    "logging, the root": ('logging.info("by the root")', "by the root", {}),
    "structlog": ('structlog.get_logger().info("paid", order=7)', "paid", {"order": 7}),
    "warnings": ('warnings.warn("old number format")', "UserWarning: old number format", {"logger": "py.warnings"}),
    "print": ('print("found", [3], "rooms")', "found [3] rooms", {"logger": "print", "level": "info"}),
    "print, in pieces": ('print("a", end=""); print("b", flush=True)', "ab", {}),
    "print to stderr": ('print("careful", file=sys.stderr)', "careful", {"level": "warning"}),
    "sys.stdout.write": (r'sys.stdout.write("one\ntwo\n")', "two", {}),
    "non-Latin": ('logger.info("नमस्ते {}", "₹")', "नमस्ते ₹", {}),
}


@pytest.fixture
def lines_of(tmp_path, capsys, monkeypatch):
    """Run code as a bot's module, in a call; returns the lines of the log."""

    def run(code: str, call_id: str = "c-1", **settings) -> list[dict]:
        path = tmp_path / "my_bot.py"
        path.write_text(HEAD + code)
        with process_logs(**settings), structlog.contextvars.bound_contextvars(call_id=call_id):
            runpy.run_path(str(path), run_name="my_bot")
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    return run


@contextlib.contextmanager
def process_logs(**given):
    settings = WorkerSettings(token_secrets="k" * 32, **given)
    root, hook = logging.getLogger(), threading.excepthook
    before = root.handlers[:], root.level
    set_up_logs("worker", "w-1", settings.log_level, texts=settings.log_texts)
    try:
        with logs_of_bots(settings):
            yield
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        logging.captureWarnings(False)
        threading.excepthook = hook
        structlog.reset_defaults()
        logger.remove()


@pytest.mark.parametrize(("code", "event", "fields"), MEMBERS.values(), ids=MEMBERS)
def test_what_a_bot_writes_arrives_whole_with_the_calls_id(lines_of, code, event, fields):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        lines = lines_of(code)
    found = [line for line in lines if event in line["event"]]
    assert len(found) == 1, lines
    assert found[0]["call_id"] == "c-1"
    assert {name: found[0].get(name) for name in fields} == fields


@pytest.mark.parametrize(
    "code",
    [
        'logger.debug("detail")',
        'log.debug("detail")',
    ],
)
def test_details_come_when_they_are_asked_for(lines_of, code):
    assert lines_of(code) == []
    assert [line["event"] for line in lines_of(code, log_level="DEBUG")] == ["detail"]


@pytest.mark.parametrize(
    "code",
    [
        'try: fails()\nexcept ValueError: logger.exception("booking failed")',
        'try: fails()\nexcept ValueError as e: logger.opt(exception=e).error("booking failed")',
        'try: fails()\nexcept ValueError: log.exception("booking failed")',
        'try: fails()\nexcept ValueError: structlog.get_logger().exception("booking failed")',
        "logger.catch(fails)()",
    ],
)
def test_of_an_exception_type_and_frames_are_told_and_its_words_only_when_texts_are_wanted(lines_of, code):
    (line,) = lines_of(code)
    assert line["exception"] == "ValueError"
    assert line["frames"][-1].endswith(" fails")
    assert "1234" not in str(line)
    (line,) = lines_of(code, log_texts=True)
    assert line["error"] == "ValueError: he said: my pin is 1234"


def test_with_texts_a_chain_and_a_group_are_told_with_their_words(lines_of):
    code = """
try:
    try: fails()
    except ValueError as e: raise ExceptionGroup("two tools", [KeyError("a"), e]) from e
except ExceptionGroup: logger.exception("x")
"""
    (line,) = lines_of(code)
    assert line["exception"] == "ExceptionGroup(KeyError, ValueError) from ValueError"
    (line,) = lines_of(code, log_texts=True)
    assert line["error"].startswith("ExceptionGroup: two tools (2 sub-exceptions) [KeyError: 'a'; ValueError: he said")


def test_numbers_and_secrets_are_masked_in_a_bots_lines_too(lines_of):
    code = """
logger.bind(caller="+918000000001").info("call from +918000000001")
log.info("x", extra={"headers": {"Authorization": "Bearer abcdefghijk"}})
print("to +918000000002")
"""
    text = json.dumps(lines_of(code, log_texts=True))
    assert "8000000" not in text
    assert "abcdefghijk" not in text


def test_a_threads_exception_is_one_line(lines_of):
    lines = lines_of("import threading\nt = threading.Thread(target=fails, name='crm'); t.start(); t.join()")
    assert [(line["event"], line["thread"], line["exception"]) for line in lines] == [
        ("a thread ended with an exception", "crm", "ValueError")
    ]


async def test_a_line_from_asyncio_to_thread_has_the_calls_id(tmp_path, capsys):
    path = tmp_path / "bot.py"
    path.write_text("print('from a thread')")
    with process_logs(), structlog.contextvars.bound_contextvars(call_id="c-2"):
        await asyncio.to_thread(runpy.run_path, str(path))
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["call_id"]) == ("from a thread", "c-2")


def test_the_log_that_cannot_be_written_does_not_print_for_ever(capsys, monkeypatch):
    with process_logs():
        (handler,) = logging.getLogger().handlers
        monkeypatch.setattr(handler, "format", lambda record: 1 / 0)
        print("something of +918000000001")
    told = capsys.readouterr().err
    assert "ZeroDivisionError" in told
    assert "8000000" not in told


def test_streams_that_stand_in_can_be_given_to_others(capfd):
    import subprocess

    with process_logs():
        assert sys.stdout.fileno() > 0
        subprocess.run([sys.executable, "-c", "print('a child')"], stdout=sys.stdout, check=True)
        sys.stdout.flush()
        assert not sys.stdout.isatty()
        assert sys.stdout.encoding == "utf-8"
    assert capfd.readouterr().out == "a child\n"


# -- Pipecat's and other libraries' --


def as_library(code: str, path: Path) -> None:
    exec(compile(code, str(path), "exec"), {"__name__": "pipecat.services.x", "logger": logger, "logging": logging})


PIPECAT = Path(pipecat.__file__).parent / "services" / "x.py"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("In order to use Daily, you need to `pip install pipecat-ai[daily]`.", None),
        ('In order to use RedisBus, you need to `uv add "pipecat-ai[redis]"`.', None),
        ("Missing: `uv pip install 'pipecat-ai[deepgram,silero]'`", None),
        ("pip install sfvopi-fleet[offline]", None),
        ("not speaking [you should pip install pipecat-ai[daily], she said]", "not speaking […]"),
        ("not speaking [pip install x[1234]", "not speaking [pip install x[1234]"),
    ],
)
def test_the_name_of_what_is_to_be_installed_is_never_masked(line, shown):
    assert without_speech(line) == (line if shown is None else shown)


def test_pipecats_lines_are_discreet_unless_texts_are_wanted(capsys):
    code = 'logger.info("quiet"); logger.warning("not speaking [hello there]"); logger.debug("heard [my pin]")'
    with process_logs():
        as_library(code, PIPECAT)
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["not speaking […]"]
    with process_logs(log_texts=True, pipecat_log_level="DEBUG", log_level="DEBUG"):
        as_library(code, PIPECAT)
    told = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert told == ["quiet", "not speaking [hello there]", "heard [my pin]"]


def test_details_of_libraries_stay_away_from_a_developers_debug_log(capsys):
    code = 'log = logging.getLogger("openai"); log.debug("messages: my pin is 1234"); log.warning("retry")'
    with process_logs(log_level="DEBUG"):
        as_library(code, PIPECAT.parents[2] / "openai" / "_base_client.py")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["retry"]


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/home/me/project/my_bot.py", Owner.BOT),
        ("/home/me/project/worker/tools.py", Owner.BOT),
        ("<string>", Owner.BOT),
        (pipecat.__file__, Owner.LIBRARY),
        (logging.__file__, Owner.LIBRARY),
        ("<frozen importlib._bootstrap>", Owner.LIBRARY),
        (str(Path(pipecat.__file__).parents[1] / "my_company" / "bots" / "sales.py"), Owner.BOT),
        (str(Path(pipecat.__file__).parents[1] / "one_file_bot.py"), Owner.BOT),
        (str(Path(pipecat.__file__).parents[1] / "somebody" / "else.py"), Owner.LIBRARY),
        (str(Path(__file__).parents[3] / "worker" / "bots" / "receptionist.py"), Owner.FLEET),
    ],
)
def test_whose_a_line_is_is_told_by_its_file(path, owner):
    assert Owners(["my_company.bots.sales:bot", "one_file_bot:bot", "pipecat.x:bot"]).of(path) is owner


@pytest.mark.parametrize(
    ("given", "is_warned_of"),
    [
        ({"log_texts": True, "public_wss_url": "wss://bots.example.com/ws"}, True),
        ({"log_texts": True, "host": "0.0.0.0"}, True),
        ({"log_texts": True, "public_wss_url": "ws://127.0.0.1:3000/ws"}, False),
        ({"log_texts": True}, False),
        ({"public_wss_url": "wss://bots.example.com/ws"}, False),
    ],
)
def test_texts_in_the_log_of_a_public_fleet_are_warned_of(given, is_warned_of):
    settings = WorkerSettings(token_secrets="k" * 32, **given)
    assert any(weakness.setting == "SFVOPI_LOG_TEXTS" for weakness in settings.weaknesses) == is_warned_of
