import pytest

from shared.carrier.audio import silence, tone
from shared.carrier.heard import Ear

FRAME = tone(400, 0.02)
QUIET = silence(0.02)


def feed(ear: Ear, s: float, start: float, frame: bytes = FRAME) -> float:
    """Audio in real time, 20 ms at a time; returns when the next frame would be due."""
    for n in range(round(s / 0.02)):
        ear.receive(frame, start + n * 0.02)
    return start + round(s / 0.02) * 0.02


def test_audio_is_heard_when_the_prebuffer_is_full():
    ear = Ear(8000, prebuffer_s=0.06)
    feed(ear, 1.0, start=1.0)

    assert ear.first_frame_at == 1.0
    assert ear.first_sound_at(0, 5) == pytest.approx(1.04)  # the third frame fills it
    assert ear.last_sound_at(1.5) == pytest.approx(1.5)
    assert ear.last_sound_at(9) == pytest.approx(2.04)
    assert ear.heard_s(1.54) == pytest.approx(0.5)
    assert ear.heard_s(9) == pytest.approx(1.0)
    assert ear.gaps_s() == []


def test_less_audio_than_the_prebuffer_is_heard_after_waiting_as_long():
    ear = Ear(8000, prebuffer_s=0.06)
    ear.receive(FRAME, 1.0)
    assert ear.first_sound_at(0, 5) == pytest.approx(1.06)


def test_audio_that_comes_at_once_is_heard_at_once_and_played_in_real_time():
    ear = Ear(8000)
    ear.receive(tone(400, 2.0), 1.0)

    assert ear.first_sound_at(0, 5) == 1.0
    assert ear.unplayed_s(1.5) == pytest.approx(1.5)
    assert ear.most_ahead_s == pytest.approx(2.0)


def test_a_buffer_that_runs_dry_inside_speech_is_an_underrun_with_its_whole_gap():
    ear = Ear(8000, prebuffer_s=0.06)
    due = feed(ear, 0.5, 1.0)  # heard from 1.04 to 1.54
    feed(ear, 0.5, due + 0.2)  # from 1.70; gathered by 1.74

    assert ear.gaps_s() == [pytest.approx(0.2)]


def test_a_pause_that_the_bot_makes_itself_is_no_underrun():
    ear = Ear(8000)
    due = feed(ear, 0.5, 1.0)
    due = feed(ear, 0.12, due, QUIET)  # it fades out
    feed(ear, 0.5, due + 0.2)
    assert ear.gaps_s() == []


def test_audio_that_comes_long_after_is_another_utterance():
    ear = Ear(8000)
    due = feed(ear, 0.5, 1.0)
    feed(ear, 0.5, due + 0.6)
    assert ear.gaps_s() == []
    assert len(ear.utterances()) == 2


def test_a_checkpoint_ends_an_utterance():
    ear = Ear(8000)
    due = feed(ear, 0.5, 1.0)
    ear.checkpoint("end")
    feed(ear, 0.5, due + 0.2)
    assert ear.gaps_s() == []


def test_a_clear_silences_at_once_and_is_no_underrun():
    ear = Ear(8000)
    ear.receive(tone(400, 2.0), 1.0)

    assert ear.clear(1.5) == pytest.approx(1.5)
    assert ear.unplayed_s(1.5) == 0
    assert ear.heard_s(9) == pytest.approx(0.5)
    assert ear.last_sound_at(9) == pytest.approx(1.5)
    assert ear.silent_from(1.2) == pytest.approx(1.5)

    feed(ear, 0.2, 1.6)
    assert ear.gaps_s() == []
    assert ear.after_clear_s == pytest.approx(0.16)  # what came within 250 ms


def test_a_clear_before_the_prebuffer_is_full_leaves_nothing_to_hear():
    ear = Ear(8000)
    ear.receive(FRAME, 1.0)
    ear.clear(1.01)
    assert ear.heard_s(9) == 0
    assert ear.first_sound_at(0, 9) is None
    assert ear.utterances() == []


def test_checkpoints_are_reached_in_order_when_their_audio_has_been_played():
    ear = Ear(8000)
    ear.checkpoint("at once")
    ear.receive(tone(400, 1.0), 1.0)
    ear.checkpoint("first")
    ear.receive(tone(400, 1.0), 1.0)
    ear.checkpoint("second")

    assert ear.take_played_checkpoints(1.0) == ["at once"]
    assert ear.take_played_checkpoints(1.99) == []
    assert ear.take_played_checkpoints(2.0) == ["first"]
    ear.clear(2.5)
    assert ear.take_played_checkpoints(9) == []
    assert ear.unplayed_checkpoints == ["second"]


def test_silence_from_the_bot_is_played_but_no_sound():
    ear = Ear(8000)
    due = feed(ear, 0.5, 1.0, QUIET)
    feed(ear, 0.5, due)
    assert ear.heard_s(9) == pytest.approx(1.0)
    assert ear.first_sound_at(0, 9) == pytest.approx(1.54)


def test_the_first_sound_since_a_moment_is_the_moment_itself_while_the_bot_speaks():
    ear = Ear(8000)
    ear.receive(tone(400, 1.0), 1.0)
    assert ear.first_sound_at(1.5, 9) == 1.5
    assert ear.first_sound_at(2.5, 9) is None


def test_what_was_heard_stands_at_its_time_in_the_recording():
    ear = Ear(8000, keep_audio=True)
    ear.receive(tone(400, 1.0), 1.0)
    ear.clear(1.25)
    ear.hang_up(1.5)
    ear.receive(tone(400, 1.0), 2.0)  # too late: the caller has gone

    assert ear.pcm() == silence(1.0) + tone(400, 1.0)[:4000]


def test_nothing_was_silenced_where_nothing_was_said():
    ear = Ear(8000)
    ear.receive(tone(400, 0.5), 1.0)
    assert ear.silent_from(2.0) is None
    assert ear.silent_from(0.5) is None
