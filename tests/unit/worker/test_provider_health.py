"""The table of what failed × what the caller is doing, cell by cell; and what leads into each of its columns."""

import pytest

from worker.provider_health import TABLE, TROUBLES, Doing, Failure, Patience, ProviderHealth, Service, Trouble, Wait

PATIENCE = Patience(answer_s=5, greeting_s=10, certain_s=1)
CELLS = [(trouble, doing) for trouble in Trouble for doing in Doing]


def failure(service=Service.LLM, **changes):
    return Failure(**{"provider": "openai", "fault": "server", "service": service, "source": str(service), **changes})


def health():
    made = ProviderHealth(PATIENCE)
    made.began(0.0)
    return made


def failure_of(trouble):
    for service, kinds in TROUBLES.items():
        if trouble in kinds:
            return failure(service, is_dead=trouble is kinds[1])
    match trouble:
        case Trouble.SPEECH | Trouble.SPEECH_DEAD:
            return failure(hears=True, is_dead=trouble is Trouble.SPEECH_DEAD)
        case Trouble.COVERED:
            return failure(is_covered=lambda: True)
        case Trouble.RECOVERED:
            return failure(is_recovered=lambda: True)
    return failure(Service.TTS)  # with no words given: it failed on something that nobody waits for


def put_into(made, doing, now):
    """Have the caller do this, from `now` on."""
    if doing is not Doing.GREETING:
        made.caller_spoke(now - 2)
        made.caller_stopped(now - 1)
        made.caller_understood(now - 0.5)
    match doing:
        case Doing.SPEAKS:
            made.caller_spoke(now)
        case Doing.LISTENS:
            made.sound_came(100, now)
        case Doing.HOLDS:
            made.tool_began("a tool")
        case Doing.HAS_THE_TURN:
            made.sound_came(0.5, now)
            made.given_up(now + 0.6)
        case Doing.UNHEARD:
            made.caller_spoke(now)
            made.caller_stopped(now + 1)
            made.recogniser_gone = lambda: failure(Service.STT, source="the recogniser")


def fail(made, trouble, now):
    given = failure_of(trouble)
    if given.service is Service.LLM:
        made.model_asked(given.source, now)
    elif trouble in (Trouble.VOICE, Trouble.VOICE_DEAD):
        made.words_given("words", now)
    made.failed(given, now)
    return given


@pytest.mark.parametrize(("trouble", "doing"), CELLS, ids=lambda cell: str(cell))
def test_each_cell_of_the_table_is_what_happens(trouble, doing):
    made = health()
    put_into(made, doing, 10.0)
    given = fail(made, trouble, 11.0)
    assert made.doing(11.0) is doing
    wait = TABLE[trouble][doing]
    if wait is Wait.NOTE:
        assert made.given_up(80.0) is not given
    else:
        assert made.given_up(11.0 + PATIENCE.of(wait) - 0.1) is None
        assert made.given_up(11.0 + PATIENCE.of(wait)) is given


def test_the_table_has_a_cell_for_everything():
    assert set(TABLE) == set(Trouble)
    assert all(set(row) == set(Doing) for row in TABLE.values())


def test_a_caller_who_is_not_waiting_is_given_up_by_no_row():
    for doing in (Doing.SPEAKS, Doing.LISTENS, Doing.HOLDS, Doing.HAS_THE_TURN):
        assert {row[doing] for row in TABLE.values()} == {Wait.NOTE}


# -- what the caller waits for


def waiting():
    made = health()
    made.sound_came(1.0, 0.5)  # the greeting
    made.given_up(2.0)
    made.caller_spoke(9.0)
    made.caller_stopped(9.5)
    made.caller_understood(10.0)
    return made


def test_a_greeting_that_takes_eight_seconds_is_waited_for():
    made = health()
    made.failed(failure(Service.TTS), 0.1)
    made.words_given("hello", 0.2)
    assert made.doing(8.0) is Doing.HOLDS
    assert made.given_up(60.0) is None


def test_a_greeting_that_failed_once_and_comes_after_eight_seconds_is_waited_for():
    made = health()
    made.words_given("hello", 0.2)
    made.failed(failure(Service.TTS), 0.3)
    assert made.given_up(8.0) is None
    made.sound_came(2.0, 8.0)
    assert made.given_up(60.0) is None


def test_patience_counts_from_the_last_thing_that_happened():
    made = waiting()
    made.model_asked("llm", 10.1)
    made.failed(failure(), 10.2)
    made.tool_began("late")
    assert made.given_up(30.0) is None
    made.tool_ended("late", 30.0)
    assert made.given_up(34.9) is None
    assert made.given_up(35.0) is not None


def test_an_answer_that_is_heard_settles_what_failed_before_it():
    made = waiting()
    made.words_given("so", 10.1)
    made.failed(failure(Service.TTS), 10.2)
    made.sound_came(1.0, 12.0)
    assert made.given_up(60.0) is None
    assert made.doing(60.0) is Doing.HAS_THE_TURN


def test_a_trailing_emoji_ends_nothing_whenever_its_error_comes():
    for failed_at in (11.0, 30.0):
        made = waiting()
        made.words_given("A long answer.", 10.1)
        made.words_given(" 👍", 10.2)
        if failed_at < 20:
            made.failed(failure(Service.TTS), failed_at)
            assert made.given_up(18.9) is None, "the sentence is on its way"
        made.sound_came(6.0, 19.0)
        if failed_at > 20:
            made.failed(failure(Service.TTS), failed_at)
        assert made.given_up(90.0) is None


@pytest.mark.parametrize("text", ["👍", "...", "…", " \n", "?!"])
def test_an_answer_without_a_sound_in_it_ends_nothing(text):
    made = waiting()
    made.model_asked("llm", 10.1)
    made.model_gave("llm")
    made.model_done("llm", 10.2)
    made.words_given(text, 10.2)
    made.failed(failure(Service.TTS), 10.3)
    assert made.given_up(90.0) is None


def test_a_voice_that_fails_on_the_words_and_on_the_emoji_is_given_up():
    made = waiting()
    made.words_given("A long answer.", 10.1)
    made.words_given(" 👍", 10.2)
    made.failed(failure(Service.TTS), 10.3)
    made.failed(failure(Service.TTS), 10.4)
    assert made.given_up(15.3) is not None


def test_a_summary_that_fails_while_the_answer_is_made_ends_nothing():
    made = waiting()
    made.model_asked("llm", 10.1)
    made.model_gave("llm")
    made.words_given("so", 10.2)
    made.failed(failure(), 10.3)
    made.sound_came(1.0, 19.0)
    assert made.given_up(90.0) is None


def test_a_classifier_that_fails_beside_a_model_that_answers_ends_nothing():
    for classifier_at in (10.2, 14.0):
        made = waiting()
        made.model_asked("classifier", 10.1)
        made.model_asked("llm", 10.1)
        if classifier_at < 11:
            made.failed(failure(source="classifier"), classifier_at)
        assert made.given_up(17.0) is None, "the model answers"
        made.model_gave("llm")
        made.words_given("so", 17.0)
        made.model_done("llm", 17.1)
        made.sound_came(1.0, 17.3)
        if classifier_at > 11:
            made.failed(failure(source="classifier"), 18.0)
        assert made.given_up(90.0) is None


def test_a_model_that_fails_beside_a_classifier_that_works_is_given_up():
    made = waiting()
    made.model_asked("classifier", 10.1)
    made.model_asked("llm", 10.1)
    made.model_gave("classifier")
    made.model_done("classifier", 10.3)
    made.failed(failure(source="llm"), 10.4)
    assert made.given_up(15.4) is not None


def test_a_model_that_decides_to_say_nothing_leaves_nobody_waiting():
    made = waiting()
    made.model_asked("classifier", 10.1)
    made.model_asked("llm", 10.1)
    made.failed(failure(source="classifier"), 10.2)
    made.model_done("llm", 10.4)
    assert made.given_up(90.0) is None


def test_a_filler_does_not_answer_the_caller():
    made = waiting()
    made.words_given("One moment.", 10.1)
    made.model_asked("llm", 10.1)
    made.sound_came(1.0, 10.5)
    made.failed(failure(), 11.0)
    assert made.given_up(16.4) is None
    assert made.given_up(16.5) is not None


def test_nor_does_what_is_said_before_a_tool_whose_result_the_model_fails_on():
    made = waiting()
    made.model_asked("llm", 10.1)
    made.model_gave("llm")
    made.words_given("Let me look.", 10.2)
    made.model_done("llm", 10.3)
    made.sound_came(1.0, 10.5)
    made.tool_began("look")
    made.tool_ended("look", 14.0)
    made.model_asked("llm", 14.0)
    made.failed(failure(), 14.1)
    assert made.given_up(19.1) is not None


def test_a_greeting_leaves_nobody_waiting_whatever_fails_beside_it():
    made = health()
    made.words_given("Hello.", 0.1)
    made.model_asked("llm", 0.1)
    made.sound_came(1.0, 0.5)
    made.failed(failure(is_dead=True), 1.0)
    assert made.given_up(90.0) is None


def test_what_the_bot_says_of_a_failure_answers_the_caller():
    made = waiting()
    made.model_asked("llm", 10.1)
    made.failed(failure(is_dead=True), 10.2)
    made.words_given("I have a problem, please hold.", 10.3)
    made.sound_came(2.0, 10.8)
    assert made.given_up(90.0) is None


def test_a_model_that_fails_within_its_answer_has_answered():
    made = waiting()
    made.model_asked("llm", 10.1)
    made.model_gave("llm")
    made.words_given("First half.", 10.2)
    made.sound_came(1.0, 10.5)
    made.failed(failure(), 11.0)
    assert made.given_up(90.0) is None


def test_what_the_bot_begins_by_itself_nobody_waits_for():
    made = waiting()
    made.sound_came(1.0, 10.5)
    made.given_up(12.0)
    made.model_asked("llm", 40.0)  # "are you still there?"
    made.failed(failure(is_dead=True), 40.1)
    assert made.given_up(90.0) is None


def test_the_next_turn_begins_with_a_clean_slate():
    made = waiting()
    made.model_asked("llm", 10.1)
    made.failed(failure(), 10.2)
    made.caller_spoke(12.0)
    assert made.given_up(20.0) is None
    made.caller_stopped(20.0)
    made.caller_understood(20.2)
    made.model_asked("llm", 20.3)
    assert made.given_up(60.0) is None, "it answers, if slowly"


def test_a_noise_does_not_end_the_wait():
    made = waiting()
    made.model_asked("llm", 10.1)
    made.failed(failure(), 10.2)
    made.caller_spoke(12.0)
    made.caller_stopped(12.3)
    assert made.given_up(17.2) is None
    assert made.given_up(17.3) is not None


def test_what_is_dead_stays_so_over_turns_until_it_is_used_again():
    is_usable = [False]
    made = waiting()
    made.words_given("so", 10.1)
    made.failed(failure(Service.TTS, is_dead=True, is_recovered=lambda: is_usable[0]), 10.2)
    made.caller_spoke(10.5)
    made.caller_stopped(10.9)
    made.caller_understood(11.0)
    assert made.given_up(12.0) is not None
    is_usable[0] = True
    assert made.given_up(90.0) is None


def test_a_voice_that_the_bot_does_not_speak_with_ends_nothing():
    made = health()
    made.failed(failure(Service.TTS, source="the french voice", is_dead=True), 0.1)
    made.words_given("Hello.", 0.2, "the english voice")
    assert made.given_up(9.0) is None, "it takes long for its first sound"
    made.sound_came(1.0, 9.0)
    made.caller_spoke(12.0)
    made.caller_stopped(13.0)
    made.caller_understood(13.2)
    made.words_given("Bonjour.", 13.5, "the french voice")
    assert made.given_up(14.2) is not None


# -- the recogniser


def unheard(made, since=20.0):
    made.caller_spoke(since)
    made.caller_stopped(since + 1)
    return made


def test_a_slow_recogniser_is_not_a_dead_one():
    assert unheard(waiting()).given_up(90.0) is None


def test_an_error_before_they_spoke_says_nothing_of_what_they_said():
    made = waiting()
    made.failed(failure(Service.STT), 15.0)
    assert unheard(made).given_up(90.0) is None


def test_an_error_while_they_spoke_does():
    made = waiting()
    made.caller_spoke(20.0)
    made.failed(failure(Service.STT), 20.5)
    made.caller_stopped(21.0)
    assert made.given_up(25.9) is None
    assert made.given_up(26.0) is not None


def test_a_recogniser_that_has_lost_its_connection_without_a_word_is_found_out():
    made = unheard(waiting())
    gone = failure(Service.STT)
    made.recogniser_gone = lambda: gone
    assert made.given_up(25.9) is None
    assert made.given_up(26.0) is gone
    made.recogniser_gone = lambda: None
    assert made.given_up(90.0) is None


def test_text_if_only_for_the_time_being_shows_that_it_lives():
    made = waiting()
    made.caller_spoke(20.0)
    made.failed(failure(Service.STT), 20.2)
    made.hears()
    made.caller_stopped(21.0)
    assert made.given_up(90.0) is None


def test_what_a_caller_says_into_the_bots_speech_is_not_waited_for():
    made = waiting()
    made.sound_came(20.0, 15.0)
    made.caller_spoke(20.0)
    made.failed(failure(Service.STT), 20.2)
    made.caller_stopped(21.0)
    assert made.given_up(90.0) is None


def test_nor_what_a_muted_caller_says():
    made = waiting()
    made.sound_came(1.0, 10.5)
    made.caller_muted(True)
    made.failed(failure(Service.STT, is_dead=True), 15.0)
    assert unheard(made).given_up(90.0) is None
    made.caller_muted(False)
    assert unheard(made, 100.0).given_up(102.0) is not None


def test_where_nothing_detects_speech_loudness_stands_for_it():
    made = health()
    made.sound_came(1.0, 0.5)
    made.given_up(2.0)
    made.failed(failure(Service.STT, is_dead=True), 3.0)
    made.caller_was_loud(5.0, 5.1)
    assert made.given_up(20.0) is None, "a crackle"
    made.caller_was_loud(30.0, 31.0)
    assert made.given_up(32.4) is None
    assert made.given_up(32.5) is not None


# -- causes


def test_one_cause_counts_once():
    made = waiting()
    error = ValueError("the cause")
    outer = RuntimeError("what came of it")
    outer.__cause__ = error
    assert made.failed(failure(exception=error), 10.0)
    assert not made.failed(failure(source="a layer above", exception=outer), 10.1)
    assert not made.failed(failure(), 10.2), "the same service, at once"
    assert not made.failed(failure(), 40.0), "the same service, and nobody asked it again"
    made.model_asked("llm", 50.0)
    assert made.failed(failure(), 50.1)


def test_the_first_report_of_a_cause_knows_why_and_a_later_one_whether_it_is_for_good():
    made = waiting()
    made.words_given("so", 10.1)
    made.failed(failure(Service.TTS, fault="rate_limit"), 10.2)
    made.failed(failure(Service.TTS, fault="connection"), 10.3)
    assert made.given_up(16.0).fault == "rate_limit"
    made.failed(failure(Service.TTS, fault="other", is_dead=True), 10.4)
    assert (made.given_up(16.0).fault, made.given_up(16.0).is_dead) == ("rate_limit", True)
    made = waiting()
    made.words_given("so", 10.1)
    made.failed(failure(Service.TTS, fault="other"), 10.2)
    made.failed(failure(Service.TTS, fault="connection"), 10.3)
    assert made.given_up(16.0).fault == "connection"


def test_a_reconnection_that_takes_long_is_one_cause_and_the_next_loss_another():
    is_back = [False]
    made = waiting()
    for at in (20.0, 24.0, 32.0):
        assert made.failed(failure(Service.STT, is_recovered=lambda: is_back[0]), at) is (at == 20.0)
    is_back[0] = True
    assert made.failed(failure(Service.STT), 60.0)


# -- a bot that ends


def test_a_bot_that_ends_by_itself_while_its_caller_waits_for_a_provider_ends_for_it():
    made = waiting()
    made.model_asked("llm", 10.1)
    made.failed(failure(), 10.2)
    assert made.ended(10.3, in_order=False) is not None


@pytest.mark.parametrize("is_dead", [True, False])
def test_a_goodbye_that_was_not_heard_is_a_failure_if_the_voice_is_dead(is_dead):
    made = waiting()
    made.words_given("Goodbye.", 10.1)
    made.failed(failure(Service.TTS, is_dead=is_dead), 10.2)
    assert (made.ended(10.3, in_order=True) is not None) is is_dead


def test_a_failure_long_ago_does_not_colour_a_goodbye():
    made = waiting()
    made.model_asked("classifier", 10.1)
    made.failed(failure(source="classifier", is_dead=True), 10.2)
    made.model_asked("llm", 10.1)
    made.model_gave("llm")
    made.words_given("Goodbye.", 10.3)
    made.model_done("llm", 10.3)
    made.sound_came(1.0, 10.5)
    assert made.ended(12.0, in_order=True) is None


def test_a_pipeline_that_pipecat_ends_for_a_service_ends_for_it_whatever_the_caller_does():
    made = waiting()
    made.sound_came(9.0, 10.5)
    made.failed(failure(Service.STT, is_dead=True, ends_pipeline=True), 11.0)
    assert made.ended(11.1, in_order=True) is not None
    made = waiting()
    made.failed(failure(is_dead=True, ends_pipeline=True, is_covered=lambda: True), 11.0)
    assert made.ended(11.1, in_order=True) is None
