"""The pure judges: turns as figures, who gives way, what a bot is called."""

import pytest
from loguru import logger
from structlog.testing import capture_logs

from worker.admission import FirstStream, compare_call_header, gives_way
from worker.bot_loader import BotLoader, BotNotFound
from worker.bot_logs import Owner, Owners, route_loguru
from worker.pipecat_logs import without_speech
from worker.turns import Turns


def test_a_turn_is_measured_from_the_last_loud_frame_to_the_first_audio():
    turns = Turns()
    for at in (1.0, 1.02, 1.04):
        turns.caller_was_loud(at)
    turns.caller_transcribed(1.34)
    turns.llm_spoke(1.54)
    turns.llm_spoke(1.60)
    turns.tts_spoke(1.64)
    turn = turns.bot_heard(1.70)
    assert turn.total_s == pytest.approx(0.66)
    assert turn.stages == pytest.approx({"stt": 0.3, "llm": 0.2, "tts": 0.1})
    assert turns.bot_heard(1.74) is None, "once a turn"


def test_what_the_bot_says_unasked_is_no_turn():
    turns = Turns()
    turns.tts_spoke(1.0)
    assert turns.bot_heard(1.1) is None


def test_old_audio_of_the_bot_does_not_answer_a_new_turn():
    turns = Turns()
    turns.caller_was_loud(1.0)
    turns.caller_transcribed(1.2)
    assert turns.bot_heard(1.25) is None
    turns.tts_spoke(1.5)
    assert turns.bot_heard(1.6).total_s == pytest.approx(0.6)


def test_an_interruption_is_measured_from_the_first_loud_frame_of_this_speech():
    turns = Turns()
    turns.bot_heard(0.5)
    turns.caller_was_loud(0.6)
    turns.bot_heard(0.7)
    for at in (2.0, 2.02, 2.1, 2.2):
        turns.caller_was_loud(at)
        turns.bot_heard(at)
    assert turns.interrupted(2.25) == pytest.approx(0.25)


def test_a_caller_who_spoke_already_interrupts_from_when_the_bot_begins():
    turns = Turns()
    turns.caller_was_loud(1.0)
    turns.caller_was_loud(1.2)
    turns.bot_heard(1.3)
    turns.caller_was_loud(1.4)
    assert turns.interrupted(1.5) == pytest.approx(0.2)


def test_an_interruption_by_a_key_has_no_barge_in_time():
    turns = Turns()
    turns.bot_heard(1.0)
    assert turns.interrupted(1.5) is None


@pytest.mark.parametrize(
    ("first", "way"),
    [(FirstStream(False, 0.0), True), (FirstStream(True, 0.9), False), (FirstStream(True, 1.0), True)],
)
def test_who_gives_way(first, way):
    assert gives_way(first) is way


@pytest.mark.parametrize(("given", "kind"), [(None, "absent"), ("", "absent"), ("a", "same"), ("b", "different")])
def test_the_call_header_is_compared(given, kind):
    assert compare_call_header(given, "a") == kind


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nonsense", "module:function"),
        ("no_such_module_here:bot", "start the worker in its folder"),
        ("worker.bots:nothing", "async def nothing"),
        ("worker.turns:Turns", "no bot"),
        ("broken_bot:bot", "ZeroDivisionError"),
        ("needy_bot:bot", "'a_library_nobody_has' is not installed"),
    ],
)
def test_a_bot_that_cannot_be_loaded_says_what_to_do(name, says, tmp_path, monkeypatch):
    (tmp_path / "broken_bot.py").write_text("1 / 0")
    (tmp_path / "needy_bot.py").write_text("import a_library_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BotNotFound, match=says):
        BotLoader().load(name)


def test_a_bot_that_cannot_be_imported_is_tried_once(tmp_path, monkeypatch):
    (tmp_path / "slow_to_fail_bot.py").write_text(
        "from pathlib import Path\n"
        "with Path(__file__).with_name('tries').open('a') as tries:\n"
        "    tries.write('x')\n"
        "1 / 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    loader = BotLoader()
    for _ in range(3):
        with pytest.raises(BotNotFound, match="ZeroDivisionError"):
            loader.load("slow_to_fail_bot:bot")
    assert (tmp_path / "tries").read_text() == "x"


def test_a_bot_in_the_working_directory_is_found(tmp_path, monkeypatch):
    (tmp_path / "my_own_bot.py").write_text("async def bot(runner_args): ...")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere"])
    assert BotLoader().load("my_own_bot:bot").__name__ == "bot"


def test_what_was_said_is_not_logged():
    line = "CartesiaTTSService#0: service is no longer usable, not speaking [hello there]"
    assert without_speech(line).endswith("not speaking […]")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("exception processing TranscriptionFrame#0(user: u, text: [1234], language: en): boom", "text: […], language"),
        ("not speaking [hello [sic] there]", "not speaking […]"),
        ('Failed to parse function call arguments: {"pin": "1234', "arguments: …"),
        ('Invalid JSON message: {"text":"1234"}', "message: {…}"),
        ("Error writing InputDTMFFrame#0(tone: 4) to transport: 1234", "(tone: …) to transport: …"),
        ("Llm#0 exception (/lib/llm.py:12): no order 1234: sorry", "Llm#0 exception (/lib/llm.py:12): …"),
        ("Stt#0 error: cannot parse: 1234", "Stt#0 error: …"),
        ("Llm#0 function call failed: no such pin\n1234", "function call failed: …"),
        ("A fatal error occurred: ErrorFrame#3(error: 1234)", "occurred: …"),
    ],
)
def test_no_word_and_no_key_of_a_call_stands_in_pipecats_lines(line: str, shown: str) -> None:
    """Single words (a number, a PIN) once passed, since only brackets with a space in them were emptied."""
    assert shown in without_speech(line)
    assert "1234" not in without_speech(line)


def test_of_an_exception_in_pipecat_it_is_told_what_and_where_but_not_its_words(monkeypatch) -> None:
    owners = Owners()
    monkeypatch.setattr(owners, "of", lambda path: Owner.LIBRARY)
    route_loguru(owners, "INFO", "WARNING")
    try:
        with capture_logs() as lines:
            try:
                raise ValueError("the caller's pin is 1234")
            except ValueError as error:
                logger.exception(f"Llm#0: exception processing TextFrame#1: {error}")
    finally:
        logger.remove()
    (line,) = lines
    assert (line["exception"], "test_turns_and_providers.py" in line["frames"][-1]) == ("ValueError", True)
    assert "1234" not in str(line)
