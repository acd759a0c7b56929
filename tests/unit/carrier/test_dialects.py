import base64
import json

import pytest

from shared.carrier.dialects import speak_dialect
from shared.carrier.plan import Dialect
from shared.sfvopi.formats import PCMA_8K, AudioFormat, Codec
from shared.sfvopi.messages import AudioCleared, CheckpointPlayed, DigitPressed, MediaReceived, StreamStarted
from shared.sfvopi.parse import parse_event
from shared.sfvopi.render import render_event

PAYLOAD = b"\x01" * 160
B64 = base64.b64encode(PAYLOAD).decode()


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("format", [PCMA_8K, AudioFormat(Codec.PCMU), AudioFormat(Codec.L16, 16000)])
def test_every_message_of_every_dialect_is_sfvopi(dialect, format):
    messages = speak_dialect(dialect, 'S"1', "C1", format)

    assert parse_event(messages.start(), format) == StreamStarted('S"1', "C1")
    assert parse_event(messages.media(B64), format) == MediaReceived(PAYLOAD, format, 'S"1')
    assert parse_event(messages.dtmf("#"), format) == DigitPressed("#", 'S"1')
    assert parse_event(messages.cleared(3), format) == AudioCleared(3)
    assert parse_event(messages.played("x"), format) == CheckpointPlayed("x")


def test_plain_sfvopi_is_what_the_wire_renders():
    messages = speak_dialect(Dialect.SFVOPI, "S1", "C1", PCMA_8K)
    assert messages.media(B64) == render_event(MediaReceived(PAYLOAD, PCMA_8K, "S1"))
    assert messages.start() == '{"event":"start","streamId":"S1","callId":"C1"}'


def test_superset_numbers_its_messages_and_times_its_media():
    messages = speak_dialect(Dialect.SUPERSET, "S1", "C1", AudioFormat(Codec.PCMU))
    sent = [
        json.loads(text) for text in (messages.start(), messages.media(B64), messages.media(B64), messages.cleared(0))
    ]

    assert [message["sequenceNumber"] for message in sent] == [1, 2, 3, 4]
    assert sent[0]["start"]["mediaFormat"] == {"encoding": "audio/x-mulaw", "sampleRate": 8000}
    assert (sent[2]["media"]["chunk"], sent[2]["media"]["timestamp"]) == (2, "40")
