"""`sfvopi call` tells the truth: what the fleet's record says, what was expected of the bot, and why a call failed."""

import os

import pytest

from shared.carrier.plan import CallPlan, HangUp, WaitForBot
from shared.carrier.report import CallOutcome, CallReport
from shared.cli import expectations, placed_call
from shared.cli.api import FleetApi
from shared.cli.call_record import fleet_behind
from shared.cli.expectations import missing, plain, stretches
from shared.cli.placed_call import Placed, place_and_judge, rows_of
from shared.cli.reach import RunFile
from tests.unit.carrier.fleet_api import call, fleet_api

ENDED = ("ended", {"result": "completed", "reason": "caller_hung_up"})
FAILED = ("ended", {"result": "failed", "reason": "bot_error"})
GREETED = ("bot_said", {"words": 4, "text": "Hello, this is Anna."})
OPEN = ("bot_said", {"words": 6, "text": "We open at nine, except Monday.", "heard": "We open at", "cut": True})


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_recognition(monkeypatch):
    monkeypatch.setattr(expectations, "can_recognise", lambda: False)


async def place(server, looks, *expected: str) -> Placed:
    plan = CallPlan(
        answer_url=server.hook("answer"),
        hangup_url=server.hook("hangup"),
        steps=(WaitForBot(quiet_s=0.2, limit_s=3), HangUp()),
        max_s=8,
    )
    with fleet_api(*looks) as api:
        return await place_and_judge(plan, FleetApi(api.url), expected)


@pytest.mark.parametrize(
    ("looks", "outcome", "errors"),
    [
        ([call("completed", "caller_hung_up", "", ENDED)], "completed", []),
        ([call("failed", "bot_error", "ValueError", FAILED)], "failed", ["bot_error (ValueError)"]),
        # the caller hung up into the apology: the record has the carrier's word, the worker's comes behind it
        (
            [call("completed", "caller_hung_up"), call("completed", "caller_hung_up", "", FAILED)],
            "failed",
            ["bot_error"],
        ),
        (
            [call(), call(), call("failed", "provider_error", "llm by openai: auth", FAILED)],
            "failed",
            ["provider_error"],
        ),
        ([call("refused", "busy_message", "", ENDED)], "refused", ["busy_message"]),
        ([call("unanswered", "no_answer", "", ENDED)], "failed", ["no_answer"]),
        ([call("something new", "of_a_later_version", "", ENDED)], "completed", []),
    ],
)
async def test_a_call_completed_only_if_the_fleets_record_says_so_too(server, looks, outcome, errors):
    placed = await place(server, looks)
    assert placed.report.outcome == outcome
    assert len(placed.report.errors) == len(errors)
    assert all(text in error for text, error in zip(errors, placed.report.errors, strict=True))


async def test_a_call_that_the_fleet_does_not_know_is_judged_by_what_was_heard(server):
    placed = await place(server, [None])
    assert placed.report.outcome is CallOutcome.COMPLETED
    assert "does not know this call" in placed.report.notes[-1]
    assert placed.to_dict()["record"] is None


async def test_a_fleet_that_does_not_answer_is_a_note(server):
    plan = CallPlan(answer_url=server.hook("answer"), steps=(WaitForBot(0.2, 3), HangUp()), max_s=8)
    placed = await place_and_judge(plan, FleetApi("http://127.0.0.1:9"), [])
    assert placed.report.outcome is CallOutcome.COMPLETED
    assert "could not be asked" in placed.report.notes[-1]


async def test_a_record_that_does_not_end_is_waited_for_only_briefly(server, monkeypatch):
    monkeypatch.setattr("shared.cli.call_record.ENDED_WITHIN_S", 0.5)
    placed = await place(server, [call()])
    assert "still goes on" in placed.report.notes[-1]


async def test_what_was_said_and_understood_stands_in_the_json_where_the_fleet_keeps_texts(server):
    heard = ("caller_said", {"words": 1, "text": "hi"})
    told = (await place(server, [call("completed", "caller_hung_up", "", GREETED, heard, OPEN, ENDED)])).to_dict()
    assert [entry["text"] for entry in told["bot_said"]] == ["Hello, this is Anna.", "We open at nine, except Monday."]
    assert told["bot_said"][1]["heard"] == "We open at"
    assert [entry["text"] for entry in told["bot_understood"]] == ["hi"]
    assert told["record"] == {"result": "completed", "reason": "caller_hung_up", "detail": "", "worker_id": "w-1"}

    counted = ("bot_said", {"words": 4})
    told = (await place(server, [call("completed", "caller_hung_up", "", counted, ENDED)])).to_dict()
    assert told["bot_said"] is None


@pytest.mark.parametrize(
    ("expected", "unsaid"),
    [
        (["this is anna", "HELLO"], []),
        (["Hello this is"], []),
        (["we open at"], []),
        (["nine"], ["nine"]),  # said, and not heard: the caller spoke into it
        (["Hello", "closed"], ["closed"]),
    ],
)
async def test_what_is_expected_must_have_been_heard(server, no_recognition, expected, unsaid):
    looks = [call("completed", "caller_hung_up", "", GREETED, OPEN, ENDED)]
    placed = await place(server, looks, *expected)
    assert placed.report.errors == [f"the bot did not say {text!r}" for text in unsaid]
    assert (placed.report.outcome is CallOutcome.COMPLETED) == (not unsaid)


async def test_without_texts_what_was_heard_is_recognised(server, monkeypatch):
    async def recognised(report):
        assert len(stretches(report.sounds_ms)) == 1
        return ["Hello, this is Anna."]

    monkeypatch.setattr(expectations, "can_recognise", lambda: True)
    monkeypatch.setattr(expectations, "recognise", recognised)
    placed = await place(server, [call("completed", "caller_hung_up", "", ("bot_said", {"words": 4}), ENDED)], "anna")
    assert placed.report.errors == []
    assert placed.to_dict()["recognised"] == ["Hello, this is Anna."]
    assert ("recognised", "Hello, this is Anna.") in rows_of(placed)


async def test_a_recognition_that_fails_fails_the_call_and_says_why():
    async def fails(report):
        raise expectations.NotRecognised("recognition ended with status 1: no model")

    report = CallReport(outcome=CallOutcome.COMPLETED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expectations, "recognise", fails)
        assert await placed_call.recognise(report) is None
    assert report.outcome is CallOutcome.FAILED
    assert report.errors == ["recognition ended with status 1: no model"]


def test_of_a_silent_bot_nothing_is_recognised_that_it_did_not_say():
    report = CallReport(outcome=CallOutcome.COMPLETED)
    placed_call.require(report, ["hello"], [])
    assert report.outcome is CallOutcome.FAILED
    assert report.errors == ["the bot did not say 'hello'"]


@pytest.mark.parametrize(
    ("expected", "said", "is_said"),
    [
        ("opening hours", ["Our OPENING,  hours are"], True),
        ("don't", ["Don’t worry"], True),
        ("half past eight", ["half past", "eight"], True),  # over two sentences
        ("₹ 500", ["It costs 500."], True),
        ("Straße", ["in der STRASSE"], True),
        ("की", ["का"], False),  # vowel signs are letters of their own
        ("नमस्ते", ["नमस्ते, मैं आना हूँ"], True),
        ("nine", ["ninety"], True),  # a substring, as it is called
        ("eight", ["ninety"], False),
    ],
)
def test_case_punctuation_and_spacing_do_not_count(expected, said, is_said):
    assert (missing([expected], said) == []) == is_said


def test_a_text_without_a_word_is_none():
    assert plain(" ?! — ") == ""


def test_what_is_recognised_at_once_is_a_sentence_and_never_more_than_the_model_hears():
    assert stretches([]) == []
    assert stretches([(0, 500), (900, 1500), (4000, 4100)]) == [(0, 1700), (3800, 4300)]
    talk = [(n * 1000.0, n * 1000.0 + 800) for n in range(60)]
    assert all(end - start <= 25_400 for start, end in stretches(talk))
    assert len(stretches(talk)) == 3


def test_the_fleet_that_is_up_here_is_asked_only_of_its_own_calls(monkeypatch):
    monkeypatch.delenv("SFVOPI_API_URL", raising=False)
    RunFile(os.getpid(), "http://127.0.0.1:9", "", "http://127.0.0.1:3000/webhook/s/answer").write()
    assert fleet_behind("http://localhost:3000/webhook/x/answer").url == "http://127.0.0.1:9"
    assert fleet_behind("http://127.0.0.1:3001/webhook/answer") is None
    assert fleet_behind("https://bots.example.com/webhook/answer") is None
    assert fleet_behind("https://bots.example.com/webhook/answer", "http://10.0.0.7:9000").url == "http://10.0.0.7:9000"
    monkeypatch.setenv("SFVOPI_API_URL", "http://10.0.0.8:9000")
    assert fleet_behind("https://bots.example.com/webhook/answer").url == "http://10.0.0.8:9000"
