"""Frames to messages and back, one by one; the clock is the test's."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InputTransportMessageFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    TTSAudioRawFrame,
)
from pipecat.processors.frame_processor import FrameProcessorSetup

from shared.sfvopi import g711
from shared.sfvopi.errors import DropReason
from shared.sfvopi.formats import PCMA_8K, AudioFormat, Codec
from shared.sfvopi.messages import (
    AudioCleared,
    Checkpoint,
    CheckpointPlayed,
    ClearAudio,
    DigitPressed,
    MediaReceived,
    PlayAudio,
    StreamStarted,
)
from shared.sfvopi.parse import parse_command
from shared.sfvopi.render import render_event
from worker.pipeline.checkpoints import checkpoint
from worker.pipeline.serializer import CARRIER_DELAY_S, SFVoPIFrameSerializer

PCMU, L16 = AudioFormat(Codec.PCMU), AudioFormat(Codec.L16, 16000)
TONE = b"".join(round(8000 * (-1) ** (n // 8)).to_bytes(2, "little", signed=True) for n in range(320))


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def serializer(format: AudioFormat = PCMA_8K, **options: Any) -> tuple[SFVoPIFrameSerializer, Clock]:
    clock = Clock()
    return SFVoPIFrameSerializer("S1", format, clock=clock, **options), clock


async def set_up(subject: SFVoPIFrameSerializer, rate: int) -> None:
    setup = cast(FrameProcessorSetup, SimpleNamespace(audio_in_sample_rate=rate, audio_out_sample_rate=rate))
    await subject.setup(setup)
    await subject.setup(setup)  # Pipecat does so


async def spoken(subject: SFVoPIFrameSerializer, frame: Frame) -> Any:
    message = await subject.serialize(frame)
    return None if message is None else parse_command(message)


def speech(seconds: float = 0.04, rate: int = 8000, *, interruptible: bool = True) -> OutputAudioRawFrame:
    frame = TTSAudioRawFrame(audio=b"\1\2" * round(seconds * rate), sample_rate=rate, num_channels=1)
    frame.interruptible = interruptible
    return frame


# -- from the carrier --


@pytest.mark.parametrize("format", [PCMA_8K, PCMU, AudioFormat(Codec.L16, 8000)])
async def test_media_becomes_the_audio_that_was_said(format: AudioFormat) -> None:
    subject, _ = serializer(format)
    await set_up(subject, 8000)
    payload = g711.encode(TONE, format)
    frame = await subject.deserialize(render_event(MediaReceived(payload, format, "S1")))
    assert isinstance(frame, InputAudioRawFrame)
    assert (frame.audio, frame.sample_rate, frame.num_channels) == (g711.decode(payload, format), 8000, 1)


async def test_every_20_ms_of_media_reach_a_wide_pipeline_as_20_ms() -> None:
    """Incident that this guards against: soxr gave five empty frames, then 95 ms at once, and barge-in came late."""
    subject, _ = serializer()
    await set_up(subject, 16000)
    message = render_event(MediaReceived(g711.encode(TONE, PCMA_8K), PCMA_8K, "S1"))
    for _ in range(10):
        frame = await subject.deserialize(message)
        assert isinstance(frame, InputAudioRawFrame)
        assert (len(frame.audio), frame.sample_rate) == (1280, 16000)


async def test_a_rate_of_ones_own_goes_before_the_pipelines() -> None:
    subject, _ = serializer(params=SFVoPIFrameSerializer.InputParams(sample_rate=8000))
    await set_up(subject, 16000)
    frame = await subject.deserialize(render_event(MediaReceived(b"\xd5" * 160, PCMA_8K)))
    assert isinstance(frame, InputAudioRawFrame)
    assert frame.sample_rate == 8000


async def test_keys_become_dtmf_frames() -> None:
    subject, _ = serializer()
    for key in "0123456789*#":
        frame = await subject.deserialize(render_event(DigitPressed(key, "S1")))
        assert isinstance(frame, InputDTMFFrame)
        assert frame.button == KeypadEntry(key)


async def test_keys_that_pipecat_does_not_know_are_dropped_and_counted() -> None:
    told: list[DropReason] = []
    subject, _ = serializer(on_drop=told.append)
    for key in "ABCD":
        assert await subject.deserialize(render_event(DigitPressed(key))) is None
    assert told == [DropReason.BAD_FIELD] * 4
    assert subject.dropped == {DropReason.BAD_FIELD: 4}


async def test_acknowledgements_become_transport_messages() -> None:
    subject, _ = serializer()
    played = await subject.deserialize(render_event(CheckpointPlayed("greeting")))
    cleared = await subject.deserialize(render_event(AudioCleared(3)))
    assert isinstance(played, InputTransportMessageFrame)
    assert isinstance(cleared, InputTransportMessageFrame)
    assert played.message == {"event": "playedStream", "name": "greeting"}
    assert cleared.message == {"event": "clearedAudio", "sequenceNumber": 3}


async def test_a_second_start_renews_the_stream_and_the_numbers_of_clears_go_on() -> None:
    subject, _ = serializer(clears_sent=4)
    await subject.serialize(speech())
    assert await spoken(subject, InterruptionFrame()) == ClearAudio("S1", 5)
    assert await subject.deserialize(render_event(StreamStarted("S2", "C"))) is None
    await subject.serialize(speech())
    assert await spoken(subject, InterruptionFrame()) == ClearAudio("S2", 6)
    assert (subject.stream_id, subject.clears_sent) == ("S2", 6)


async def test_without_a_stream_id_the_stream_begins_with_its_start() -> None:
    subject = SFVoPIFrameSerializer()
    media = render_event(MediaReceived(b"\xd5" * 160, PCMA_8K))
    assert await subject.deserialize(media) is None
    assert subject.dropped == {DropReason.OUT_OF_ORDER: 1}
    await subject.deserialize(render_event(StreamStarted("S9", "C")))
    assert await subject.deserialize(media) is not None
    assert subject.stream_id == "S9"


@given(st.text() | st.binary())
async def test_nothing_that_a_peer_sends_makes_it_raise(frame: str | bytes) -> None:
    subject, _ = serializer()
    assert await subject.deserialize(frame) is None
    assert subject.dropped.total() == 1


# -- to the carrier --


@pytest.mark.parametrize("format", [PCMA_8K, PCMU, AudioFormat(Codec.L16, 8000), L16])
async def test_audio_leaves_in_the_format_that_was_promised(format: AudioFormat) -> None:
    subject, _ = serializer(format)
    frame = OutputAudioRawFrame(audio=TONE, sample_rate=format.sample_rate, num_channels=1)
    assert await spoken(subject, frame) == PlayAudio(g711.encode(TONE, format), format)


@pytest.mark.parametrize("format", [PCMA_8K, PCMU, L16])
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100])
async def test_every_rate_leaves_at_the_promised_one_and_as_long_as_it_was(format: AudioFormat, rate: int) -> None:
    subject, _ = serializer(format)
    sent = [await spoken(subject, speech(0.04, rate)) for _ in range(5)]
    assert all(play.format == format for play in sent)
    assert sum(format.duration_ms(len(play.payload)) for play in sent) == pytest.approx(200, abs=0.2)


async def test_of_two_channels_one_is_played_and_half_a_sample_is_none() -> None:
    subject, _ = serializer(AudioFormat(Codec.L16, 8000))
    stereo = OutputAudioRawFrame(audio=b"\1\1\2\2\3\3\4\4", sample_rate=8000, num_channels=2)
    assert (await spoken(subject, stereo)).payload == b"\1\1\3\3"
    assert (await spoken(subject, OutputAudioRawFrame(b"\1\1\2", 8000, 1))).payload == b"\1\1"
    assert await spoken(subject, OutputAudioRawFrame(b"", 8000, 1)) is None


async def test_an_interruption_clears_what_is_unplayed_once() -> None:
    subject, clock = serializer()
    await subject.serialize(speech(1.0))
    clock.now += 0.5
    assert await spoken(subject, InterruptionFrame()) == ClearAudio("S1", 1)
    assert await spoken(subject, InterruptionFrame()) is None
    assert subject.unplayed_s() == 0


async def test_an_interruption_of_a_silent_bot_clears_nothing() -> None:
    """Incident that this guards against: Pipecat interrupts at every turn of the caller, and each one was a clear."""
    subject, clock = serializer()
    assert await spoken(subject, InterruptionFrame()) is None
    await subject.serialize(speech(0.04))
    clock.now += 0.04 + CARRIER_DELAY_S + 0.001
    assert await spoken(subject, InterruptionFrame()) is None
    assert subject.clears_sent == 0


async def test_speech_in_flight_to_the_caller_is_still_cleared() -> None:
    subject, clock = serializer()
    await subject.serialize(speech(0.04))
    clock.now += 0.1
    assert await spoken(subject, InterruptionFrame()) == ClearAudio("S1", 1)


async def test_speech_that_is_not_interruptible_is_heard_to_its_end() -> None:
    subject, clock = serializer()
    await subject.serialize(speech(1.0, interruptible=False))
    await subject.serialize(speech(1.0))
    clock.now += 0.9
    assert await spoken(subject, InterruptionFrame()) is None
    assert subject.unplayed_s() > 1
    clock.now += 0.1 + CARRIER_DELAY_S + 0.001  # now only the rest, which may be cleared, is unplayed
    assert await spoken(subject, InterruptionFrame()) == ClearAudio("S1", 1)


async def test_nothing_of_an_interrupted_sentence_is_left_in_the_resampler() -> None:
    subject, _ = serializer(AudioFormat(Codec.L16, 8000))
    await subject.serialize(OutputAudioRawFrame(b"\x00\x40" * 640, 16000, 1))
    await subject.serialize(InterruptionFrame())
    after = await spoken(subject, OutputAudioRawFrame(b"\0" * 1280, 16000, 1))
    assert set(after.payload) == {0}


async def test_a_checkpoint_is_given_the_stream_that_it_belongs_to() -> None:
    subject, _ = serializer()
    assert await spoken(subject, checkpoint("greeting")) == Checkpoint("S1", "greeting")
    assert checkpoint("a").interruptible
    assert not checkpoint("a", interruptible=False).interruptible


@pytest.mark.parametrize("kind", [OutputTransportMessageFrame, OutputTransportMessageUrgentFrame])
async def test_a_bots_own_message_goes_out_as_json(kind: Any) -> None:
    subject, _ = serializer()
    message = await subject.serialize(kind(message={"event": "new", "name": "grün"}))
    assert message is not None
    assert json.loads(message) == {"event": "new", "name": "grün"}


@pytest.mark.parametrize(
    "message", ["text", None, 7, [1], {1, 2}, {"a": object()}, {"a": float("nan")}, {("a",): 1}, b"x"]
)
async def test_what_is_no_json_object_never_reaches_the_wire(message: Any) -> None:
    subject, _ = serializer()
    assert await subject.serialize(OutputTransportMessageFrame(message=message)) is None
    assert await subject.serialize(OutputTransportMessageUrgentFrame(message=message)) is None


async def test_a_message_that_holds_itself_never_reaches_the_wire() -> None:
    message: dict[str, Any] = {}
    message["me"] = message
    assert await serializer()[0].serialize(OutputTransportMessageFrame(message=message)) is None


async def test_rtvi_stays_inside_unless_it_is_asked_for() -> None:
    rtvi = OutputTransportMessageFrame(message={"label": "rtvi-ai", "type": "bot-ready"})
    assert await serializer()[0].serialize(rtvi) is None
    params = SFVoPIFrameSerializer.InputParams(ignore_rtvi_messages=False)
    assert await serializer(params=params)[0].serialize(rtvi) is not None


@pytest.mark.parametrize("frame", [EndFrame(), CancelFrame()])
async def test_there_is_no_message_that_hangs_up(frame: Frame) -> None:
    assert await serializer()[0].serialize(frame) is None


def test_it_has_a_name_like_every_object_of_pipecat() -> None:
    assert "SFVoPIFrameSerializer" in str(serializer()[0])
