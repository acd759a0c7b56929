"""Order and floods: what a reader knows that a single message does not tell."""

import base64

from shared.sfvopi.errors import DropReason
from shared.sfvopi.formats import PCMA_8K
from shared.sfvopi.messages import MediaReceived, StreamStarted
from shared.sfvopi.reader import FLOOD_BURST, EventReader
from shared.sfvopi.render import render_event

START = render_event(StreamStarted("S1", "C"))
MEDIA = render_event(MediaReceived(b"\xd5" * 160, PCMA_8K, "S1"))


def test_media_before_start_is_out_of_order() -> None:
    reader = EventReader(PCMA_8K)
    assert reader.read(MEDIA, 0.0) is None
    assert reader.dropped == {DropReason.OUT_OF_ORDER: 1}
    assert reader.read(START, 0.0) == StreamStarted("S1", "C")
    assert isinstance(reader.read(MEDIA, 0.0), MediaReceived)


def test_a_start_that_somebody_else_has_read_counts() -> None:
    assert isinstance(EventReader(PCMA_8K, is_started=True).read(MEDIA, 0.0), MediaReceived)


def test_a_second_start_is_an_event_like_the_first() -> None:
    reader = EventReader(PCMA_8K)
    reader.read(START, 0.0)
    assert reader.read(render_event(StreamStarted("S2", "C")), 1.0) == StreamStarted("S2", "C")
    assert not reader.dropped


def test_drops_are_told_as_they_happen() -> None:
    told: list[DropReason] = []
    reader = EventReader(PCMA_8K, on_drop=told.append)
    reader.read("junk", 0.0)
    reader.read(b"junk", 0.0)
    assert told == [DropReason.NOT_JSON, DropReason.NOT_TEXT]
    assert reader.dropped.total() == 2


def test_an_hour_of_a_call_is_no_flood() -> None:
    reader = EventReader(PCMA_8K, is_started=True)
    assert all(reader.read(MEDIA, n * 0.02) for n in range(10_000))


def test_a_backlog_after_a_stall_is_no_flood() -> None:
    reader = EventReader(PCMA_8K, is_started=True)
    assert all(reader.read(MEDIA, 7.0) for _ in range(FLOOD_BURST))
    assert all(reader.read(MEDIA, 7.0 + n * 0.02) for n in range(1, 100))


def test_a_flood_is_cut_off_and_the_call_comes_back_after_it() -> None:
    reader = EventReader(PCMA_8K, is_started=True)
    for n in range(10_000):  # ten seconds of 1,000 junk frames a second
        reader.read("junk", n / 1000)
    assert reader.dropped[DropReason.FLOOD] == 10_000 - reader.dropped[DropReason.NOT_JSON]
    assert reader.dropped[DropReason.NOT_JSON] < 1000 + 2000 + 10
    assert isinstance(reader.read(MEDIA, 10.1), MediaReceived)


def test_a_clock_that_goes_back_refills_nothing() -> None:
    reader = EventReader(PCMA_8K, is_started=True, flood_burst=2, flood_per_s=1.0)
    assert [reader.read(MEDIA, now) is not None for now in (10.0, 5.0, 4.0)] == [True, True, False]


def test_base64_of_silence_is_read_as_silence() -> None:
    assert base64.b64encode(b"\xd5" * 3) == b"1dXV"
    media = EventReader(PCMA_8K, is_started=True).read('{"event":"media","media":{"payload":"1dXV"}}', 0.0)
    assert media == MediaReceived(b"\xd5" * 3, PCMA_8K)
