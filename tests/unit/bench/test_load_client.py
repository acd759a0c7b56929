"""The load client below its sockets: frames, script, a call from `start` to its turns."""

import base64
import itertools
import json

import pytest

from shared.carrier.load import wire
from shared.carrier.load.call import Call, CallLost
from shared.carrier.load.script import FRAME_S, frames_of_call, utterances
from shared.sfvopi.formats import PCMA_8K
from shared.sfvopi.messages import MediaReceived, StreamStarted
from shared.sfvopi.reader import EventReader


def server_frame(payload: bytes, opcode: int = wire.TEXT) -> bytes:
    """As a server sends it: not masked."""
    size = len(payload)
    head = bytes((0x80 | opcode, size)) if size < 126 else bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    return head + payload


def play(milliseconds: int) -> bytes:
    payload = base64.b64encode(bytes(8 * milliseconds)).decode()
    return server_frame(json.dumps({"event": "playAudio", "media": {"payload": payload}}).encode())


def sent_texts(data: bytes) -> list[str]:
    """What a client's frames say; the mask is of zeros, so the reader of a server's frames needs only the mask cut."""
    texts = []
    while data:
        size, head = data[1] & 0x7F, 2
        assert data[1] & 0x80, "a client's frame is masked"
        if size == 126:
            size, head = int.from_bytes(data[2:4], "big"), 4
        assert data[head : head + 4] == bytes(4)
        texts.append(data[head + 4 : head + 4 + size].decode())
        data = data[head + 4 + size :]
    return texts


@pytest.mark.parametrize("cut", [1, 3, 7, 1000])
def test_frames_come_whole_out_of_whatever_pieces(cut: int) -> None:
    stream = server_frame(b"a") + server_frame(b"b" * 300) + server_frame(b"", wire.PING) + server_frame(b"c" * 125)
    reader = wire.FrameReader()
    found = [frame for at in range(0, len(stream), cut) for frame in reader.feed(stream[at : at + cut])]
    assert found == [(1, b"a"), (1, b"b" * 300), (9, b""), (1, b"c" * 125)]


def test_a_response_is_there_once_its_body_is() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Worker: 127.0.0.1:9\r\n\r\n{}"
    assert wire.read_response(data[:20]) is None
    assert wire.read_response(data[:-1]) is None
    response = wire.read_response(data)
    assert response is not None
    assert (response.status, response.headers["x-worker"], wire.json_of(response)) == (200, "127.0.0.1:9", {})


def test_what_follows_an_upgrade_is_the_streams() -> None:
    response = wire.read_response(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x01a")
    assert response is not None
    assert response.rest == b"\x81\x01a"


def test_a_caller_speaks_twice_in_about_eleven_seconds_and_never_at_anothers_moment() -> None:
    frames = list(itertools.islice(frames_of_call(1), round(60 / FRAME_S)))
    begins = [number * FRAME_S for number, frame in enumerate(frames) if frame.is_first]
    rounds = [later - begin for begin, later in zip(begins[::2], begins[2::2], strict=False)]
    assert all(10.5 < seconds < 13 for seconds in rounds)
    others = [
        number * FRAME_S for number, frame in enumerate(itertools.islice(frames_of_call(2), 1000)) if frame.is_first
    ]
    assert others[0] != begins[0]


def test_the_same_caller_says_the_same_again() -> None:
    first, again = (list(itertools.islice(frames_of_call(7), 2000)) for _ in range(2))
    assert first == again


def test_recordings_begin_and_end_loud_and_hold_no_pause_that_would_end_a_turn() -> None:
    assert len(utterances()) == 3
    for spoken in utterances():
        assert [frame.is_first for frame in spoken].index(True) == 0
        assert [frame.is_last for frame in spoken].index(True) == len(spoken) - 1
        assert 1 < len(spoken) * FRAME_S < 2.5


def test_what_it_sends_is_what_the_wire_knows() -> None:
    call, reader = Call(3, "call-3", asked_at=0.0), EventReader(PCMA_8K)
    (start,) = sent_texts(call.start(1.0))
    (media,) = sent_texts(call.next_frame(1.02))
    started, heard = reader.read(start, 1.0), reader.read(media, 1.02)
    assert isinstance(started, StreamStarted)
    assert started.call_id == "call-3"
    assert isinstance(heard, MediaReceived)
    assert (len(heard.payload), heard.stream_id) == (160, started.stream_id)
    assert not reader.dropped


def talking(call: Call, until: str, now: float) -> float:
    """Send frames until one that is_first or is_last is out; returns when."""
    for _ in range(2000):
        before = [(turn.began_at, turn.ended_at) for turn in call.turns.all]
        call.next_frame(now)
        after = [(turn.began_at, turn.ended_at) for turn in call.turns.all]
        if after != before and (until == "first") == (after[-1][1] is None):
            return now
        now += FRAME_S
    raise AssertionError("it never spoke")


def test_a_call_measures_its_greeting_its_answer_and_its_interruption() -> None:
    call = Call(0, "call-0", asked_at=0.0)
    call.start(1.0)
    call.receive(play(40), 1.3)
    assert call.first_audio_at == 1.3
    began = talking(call, "first", 1.4)
    ended = talking(call, "last", began)
    call.receive(play(2000) + play(2000), ended + 1.0)
    interrupted = talking(call, "first", ended + FRAME_S)
    answer = call.receive(server_frame(b'{"event":"clearAudio","streamId":"s","sequenceNumber":4}'), interrupted + 0.2)
    assert sent_texts(answer) == ['{"event": "clearedAudio", "sequenceNumber": 4}']
    first, second = call.turns.all
    assert first.response_s == pytest.approx(1.0)
    assert second.clear_s == pytest.approx(0.2)


def test_a_checkpoint_is_answered_when_all_before_it_has_been_played() -> None:
    call = Call(0, "call-0", asked_at=0.0)
    call.start(1.0)
    call.receive(play(200) + server_frame(b'{"event":"checkpoint","streamId":"s","name":"here"}'), 1.0)
    assert len(sent_texts(call.next_frame(1.2))) == 1
    assert sent_texts(call.next_frame(1.27))[1] == '{"event": "playedStream", "name": "here"}'


def test_a_ping_is_answered_and_a_close_is_the_end() -> None:
    call = Call(0, "call-0", asked_at=0.0)
    assert call.receive(server_frame(b"x", wire.PING), 1.0) == wire.frame(b"x", wire.PONG)
    with pytest.raises(CallLost, match="1011"):
        call.receive(server_frame((1011).to_bytes(2, "big"), wire.CLOSE), 1.0)
