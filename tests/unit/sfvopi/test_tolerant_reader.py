"""What the carrier may send although nobody has written it down, and what is dropped, for which reason."""

import base64
import json
from typing import Any

import pytest

from shared.sfvopi.errors import DropReason, MessageDropped
from shared.sfvopi.formats import PCMA_8K, AudioFormat, Codec
from shared.sfvopi.messages import ClearAudio, DigitPressed, MediaReceived, PlayAudio, StreamStarted
from shared.sfvopi.parse import MAX_MESSAGE_BYTES, parse_command, parse_event
from shared.sfvopi.render import render_command, render_event

PCMU = AudioFormat(Codec.PCMU)
L16 = AudioFormat(Codec.L16, 16000)
SOUND = bytes(range(160))
PAYLOAD = base64.b64encode(SOUND).decode()


def read(message: Any, format: AudioFormat = PCMA_8K) -> Any:
    return parse_event(json.dumps(message), format)


def why_dropped(frame: Any, format: AudioFormat = PCMA_8K) -> DropReason:
    with pytest.raises(MessageDropped) as caught:
        parse_event(frame if isinstance(frame, str | bytes) else json.dumps(frame), format)
    return caught.value.reason


@pytest.mark.parametrize(
    "message",
    [
        {"event": "start", "streamId": "S", "callId": "C"},
        {"event": "start", "start": {"streamId": "S", "callId": "C"}},
        {"event": "start", "streamId": "S", "start": {"callId": "C", "mediaFormat": {}}, "extra": 1},
        {"event": "start", "streamId": None, "start": {"streamId": "S", "callId": "C"}},
    ],
)
def test_ids_stand_at_top_level_or_under_start(message: Any) -> None:
    assert read(message) == StreamStarted("S", "C")


def test_a_start_without_the_carriers_call_id_is_good_enough() -> None:
    assert read({"event": "start", "streamId": "S"}) == StreamStarted("S", "")


@pytest.mark.parametrize(
    "message", [{"digit": "5"}, {"digit": 5}, {"dtmf": {"digit": "5"}}, {"dtmf": {"digit": 5, "duration": 80}}]
)
def test_a_digit_is_flat_or_nested_text_or_number(message: dict[str, Any]) -> None:
    assert read({"event": "dtmf", "streamId": "S"} | message) == DigitPressed("5", "S")


@pytest.mark.parametrize(("sent", "read_as"), [(0, "0"), ("*", "*"), ("#", "#"), ("a", "A"), ("D", "D")])
def test_every_key_of_a_phone_is_read(sent: Any, read_as: str) -> None:
    assert read({"event": "dtmf", "digit": sent}) == DigitPressed(read_as)


@pytest.mark.parametrize(
    "media",
    [
        {"contentType": "audio/PCMA", "sampleRate": 8000},
        {"contentType": "audio/PCMA", "sampleRate": "8000"},
        {"contentType": "audio/x-alaw", "sampleRate": 8000.0},
        {"contentType": "AUDIO/pcma;rate=8000"},
        {"sampleRate": 8000},
        {"contentType": None, "sampleRate": None},
        {},
    ],
)
def test_media_in_the_negotiated_format_is_read_however_it_is_spelt(media: dict[str, Any]) -> None:
    assert read({"event": "media", "media": media | {"payload": PAYLOAD}}) == MediaReceived(SOUND, PCMA_8K)


@pytest.mark.parametrize("format", [PCMU, L16, AudioFormat(Codec.L16, 8000)])
def test_media_that_declares_nothing_has_the_negotiated_format_and_never_mulaw_by_default(format: AudioFormat) -> None:
    assert read({"event": "media", "media": {"payload": PAYLOAD}}, format) == MediaReceived(SOUND, format)


def test_x_mulaw_is_pcmu() -> None:
    media = {"payload": PAYLOAD, "contentType": "audio/x-mulaw", "sampleRate": 8000}
    assert read({"event": "media", "media": media}, PCMU).format == PCMU


@pytest.mark.parametrize(
    "media",
    [
        {"contentType": "audio/PCMU", "sampleRate": 8000},
        {"contentType": "audio/x-l16", "sampleRate": 8000},
        {"contentType": "audio/PCMA", "sampleRate": 16000},
        {"contentType": "audio/opus"},
        {"sampleRate": 44100},
    ],
)
def test_media_in_another_codec_or_rate_than_promised_is_dropped(media: dict[str, Any]) -> None:
    assert why_dropped({"event": "media", "media": media | {"payload": PAYLOAD}}) is DropReason.WRONG_FORMAT


@pytest.mark.parametrize("payload", ["", "=", "====", "1dXV$", "1dX", "äöü", " 1dXV", "1dXV\n"])
def test_a_payload_that_is_not_base64_or_empty_is_dropped(payload: str) -> None:
    assert why_dropped({"event": "media", "media": {"payload": payload}}) is DropReason.BAD_PAYLOAD


def test_half_a_sample_is_dropped() -> None:
    odd = base64.b64encode(b"\0" * 639).decode()
    assert why_dropped({"event": "media", "media": {"payload": odd}}, L16) is DropReason.BAD_PAYLOAD
    assert read({"event": "media", "media": {"payload": odd}}).payload == b"\0" * 639  # whole in A-law


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b'{"event":"start","streamId":"S"}', DropReason.NOT_TEXT),
        (b"", DropReason.NOT_TEXT),
        ("x" * (MAX_MESSAGE_BYTES + 1), DropReason.TOO_LARGE),
        (b"x" * (MAX_MESSAGE_BYTES + 1), DropReason.TOO_LARGE),
        ("", DropReason.NOT_JSON),
        ("{", DropReason.NOT_JSON),
        ("[" * 60_000, DropReason.NOT_JSON),
        ('{"event":"clearedAudio","sequenceNumber":' + "9" * 5000 + "}", DropReason.NOT_JSON),
        ('{"event":"clearedAudio","sequenceNumber":NaN}', DropReason.NOT_JSON),
        ("[]", DropReason.NOT_OBJECT),
        ("null", DropReason.NOT_OBJECT),
        ('"start"', DropReason.NOT_OBJECT),
        ("{}", DropReason.NO_EVENT),
        ('{"event":["start"]}', DropReason.NO_EVENT),
        ('{"event":"stop"}', DropReason.UNKNOWN_EVENT),
        ('{"event":"playAudio"}', DropReason.UNKNOWN_EVENT),  # ours, not the carrier's
        ('{"event":"start"}', DropReason.BAD_FIELD),
        ('{"event":"start","streamId":""}', DropReason.BAD_FIELD),
        ('{"event":"start","streamId":"\\ud800"}', DropReason.BAD_FIELD),
        ('{"event":"start","streamId":"' + "x" * 257 + '"}', DropReason.BAD_FIELD),
        ('{"event":"media"}', DropReason.BAD_FIELD),
        ('{"event":"media","media":null}', DropReason.BAD_FIELD),
        ('{"event":"media","media":[]}', DropReason.BAD_FIELD),
        ('{"event":"media","media":{}}', DropReason.BAD_FIELD),
        ('{"event":"media","media":{"payload":null}}', DropReason.BAD_FIELD),
        ('{"event":"media","media":{"payload":"1dXV","contentType":1}}', DropReason.BAD_FIELD),
        ('{"event":"media","media":{"payload":"1dXV","sampleRate":true}}', DropReason.BAD_FIELD),
        ('{"event":"media","media":{"payload":"1dXV","sampleRate":"many"}}', DropReason.BAD_FIELD),
        ('{"event":"dtmf"}', DropReason.BAD_FIELD),
        ('{"event":"dtmf","digit":"55"}', DropReason.BAD_FIELD),
        ('{"event":"dtmf","digit":true}', DropReason.BAD_FIELD),
        ('{"event":"dtmf","dtmf":"5"}', DropReason.BAD_FIELD),
        ('{"event":"clearedAudio"}', DropReason.BAD_FIELD),
        ('{"event":"clearedAudio","sequenceNumber":-1}', DropReason.BAD_FIELD),
        ('{"event":"clearedAudio","sequenceNumber":1.5}', DropReason.BAD_FIELD),
        ('{"event":"playedStream"}', DropReason.BAD_FIELD),
        ('{"event":"playedStream","name":{}}', DropReason.BAD_FIELD),
    ],
)
def test_what_cannot_be_used_is_dropped_with_its_reason(frame: str | bytes, reason: DropReason) -> None:
    assert why_dropped(frame) is reason


def test_a_dropped_message_never_shows_what_it_held() -> None:
    with pytest.raises(MessageDropped) as caught:
        read({"event": "dtmf", "digit": "4711"})
    assert "4711" not in str(caught.value)


def test_the_wire_looks_as_the_carrier_documents_it() -> None:
    play = json.loads(render_command(PlayAudio(SOUND, PCMA_8K)))
    assert play == {
        "event": "playAudio",
        "media": {"payload": PAYLOAD, "contentType": "audio/PCMA", "sampleRate": 8000},
    }
    clear = json.loads(render_command(ClearAudio("S", 3)))
    assert clear == {"event": "clearAudio", "streamId": "S", "sequenceNumber": 3}
    frame = render_event(MediaReceived(SOUND, PCMA_8K, "SFV_STRM_BI_01J"))
    assert json.loads(frame)["media"]["contentType"] == "audio/PCMA"
    assert len(frame) < 362


def test_a_command_keeps_the_format_that_it_declares() -> None:
    media = {"payload": PAYLOAD, "contentType": "audio/x-mulaw", "sampleRate": "8000"}
    assert parse_command(json.dumps({"event": "playAudio", "media": media})) == PlayAudio(SOUND, PCMU)


def test_a_command_of_an_undeclared_format_is_read_only_by_who_knows_what_was_negotiated() -> None:
    frame = json.dumps({"event": "playAudio", "media": {"payload": PAYLOAD}})
    assert parse_command(frame, PCMA_8K) == PlayAudio(SOUND, PCMA_8K)
    with pytest.raises(MessageDropped):
        parse_command(frame)


def test_a_clear_written_for_plivo_has_no_number() -> None:
    assert parse_command('{"event":"clearAudio","streamId":"S"}') == ClearAudio("S", 0)
