"""Where frames begin and end, by the word of `websockets`."""

import pytest
from websockets.frames import Frame, Opcode

from shared.process.frames import NOT_YET, ODD, bounds, text_frame

LENGTHS = [0, 1, 125, 126, 127, 1000, 0xFFFF]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_a_clients_frame_begins_and_ends_where_its_writer_made_it(length: int, opcode: Opcode) -> None:
    payload = b"a" * length
    before = Frame(Opcode.TEXT, b"before").serialize(mask=True)
    frame = Frame(opcode, payload).serialize(mask=True)
    data = before + frame + b"behind"
    begin, end = bounds(data, len(before))
    assert end == len(before) + len(frame)
    assert end - begin == length


@pytest.mark.parametrize("length", LENGTHS)
def test_what_has_not_all_come_is_waited_for(length: int) -> None:
    frame = Frame(Opcode.TEXT, b"a" * length).serialize(mask=True)
    for cut in range(min(len(frame), 20)):
        begin, end = bounds(frame[:cut], 0)
        assert (begin, end) == NOT_YET or end > cut


def test_a_frame_that_no_client_may_send_is_odd() -> None:
    assert bounds(Frame(Opcode.TEXT, b"unmasked").serialize(mask=False), 0) == ODD
    assert bounds(Frame(Opcode.TEXT, b"a" * 0x10000).serialize(mask=True), 0) == ODD


@pytest.mark.parametrize("length", [*LENGTHS, 0x10000, 100_000])
def test_a_text_of_ours_is_framed_as_websockets_would(length: int) -> None:
    assert text_frame("a" * length) == Frame(Opcode.TEXT, b"a" * length).serialize(mask=False)


def test_a_text_is_as_long_as_its_bytes() -> None:
    text = "ä" * 100
    assert text_frame(text) == Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
