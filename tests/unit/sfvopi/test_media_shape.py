"""Messages that are read by comparing them with the last one are read as if each had been read in full."""

import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.sfvopi.errors import MessageDropped
from shared.sfvopi.formats import PCMA_8K, AudioFormat, Codec
from shared.sfvopi.media import MediaShape
from shared.sfvopi.messages import MediaReceived
from shared.sfvopi.parse import MAX_MESSAGE_BYTES, parse_event
from shared.sfvopi.reader import EventReader

L16 = AudioFormat(Codec.L16, 8000)


def media(payload: str, stream_id: str = "S1", **more: Any) -> dict[str, Any]:
    described = {"payload": payload, "contentType": "audio/PCMA", "sampleRate": 8000}
    return {"event": "media", "streamId": stream_id, "media": described, **more}


def text_of(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


payloads = st.one_of(
    st.binary(min_size=1, max_size=40).map(text_of),
    st.text(alphabet='AB+/=\\" \n\x00é', max_size=8),
    st.sampled_from(["", "AAAA", "AAA", '","payload":"AAAA', 'AAAA","contentType":"audio/PCMU']),
)
messages = st.builds(
    media,
    payloads,
    st.sampled_from(["S1", "S2", "AAAA", ""]),
    extra=st.sampled_from([None, "AAAA", {"payload": "AAAA"}]),
)
frames = st.one_of(
    st.builds(json.dumps, messages, separators=st.sampled_from([(",", ":"), (", ", ": ")])),
    st.builds(lambda message: json.dumps(message).replace("/", "\\/"), messages),
    st.sampled_from(["junk", "{}", '{"event":"media"}', "\0", b"AAAA"]),
)


@given(st.lists(frames, max_size=12), st.sampled_from([PCMA_8K, L16]))
def test_whatever_came_before_a_message_is_read_as_if_in_full(
    given_frames: list[str | bytes], format: AudioFormat
) -> None:
    reader = EventReader(format, is_started=True)
    for frame in given_frames:
        try:
            expected: object = parse_event(frame, format)
        except MessageDropped:
            expected = None
        assert reader.read(frame, 0.0) == expected


def test_the_messages_of_a_call_are_read_by_their_shape() -> None:
    shape = MediaShape(PCMA_8K)
    first, second = (json.dumps(media(text_of(bytes([n]) * 160))) for n in (1, 2))
    assert shape.read(first) is None
    shape.learn(first, MediaReceived(b"\x01" * 160, PCMA_8K, "S1"))
    assert shape.read(second) == MediaReceived(b"\x02" * 160, PCMA_8K, "S1")


def test_audio_that_stands_twice_in_a_message_teaches_nothing() -> None:
    shape = MediaShape(PCMA_8K)
    message = json.dumps(media("AAAA", "AAAA"))
    shape.learn(message, MediaReceived(b"\0\0\0", PCMA_8K, "AAAA"))
    assert shape.read(message) is None


def test_a_message_that_is_too_large_is_left_to_the_reader_in_full() -> None:
    shape = MediaShape(PCMA_8K)
    shape.learn(json.dumps(media(text_of(b"\1" * 160))), MediaReceived(b"\1" * 160, PCMA_8K, "S1"))
    assert shape.read(json.dumps(media(text_of(b"\2" * MAX_MESSAGE_BYTES)))) is None
