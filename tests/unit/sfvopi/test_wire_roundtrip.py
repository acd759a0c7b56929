"""Whatever is rendered is read back as it was, and whatever else comes is read or dropped, never more."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.sfvopi.answer import StreamAnswer
from shared.sfvopi.errors import MessageDropped, WebhookRejected
from shared.sfvopi.formats import SAMPLE_RATES, AudioFormat
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
from shared.sfvopi.parse import DIGITS, MAX_SEQUENCE_NUMBER, parse_command, parse_event
from shared.sfvopi.reader import EventReader
from shared.sfvopi.render import render_command, render_event
from shared.sfvopi.webhooks import AnswerWebhook, HangupWebhook, RingWebhook, parse_answer, parse_hangup, parse_ring

FORMATS = [AudioFormat(codec, rate) for codec, rates in SAMPLE_RATES.items() for rate in rates]

formats = st.sampled_from(FORMATS)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=256)  # no lone surrogates
names = texts.filter(bool)
numbers = st.integers(0, MAX_SEQUENCE_NUMBER)


@st.composite
def audio(draw: st.DrawFn) -> tuple[bytes, AudioFormat]:
    format = draw(formats)
    samples = draw(st.integers(1, 200))
    return draw(st.binary(min_size=samples * format.sample_width, max_size=samples * format.sample_width)), format


events = st.one_of(
    st.builds(StreamStarted, names, texts),
    st.builds(lambda sound, stream_id: MediaReceived(*sound, stream_id), audio(), texts),
    st.builds(DigitPressed, st.sampled_from(sorted(DIGITS)), texts),
    st.builds(AudioCleared, numbers),
    st.builds(CheckpointPlayed, names),
)
commands = st.one_of(
    st.builds(lambda sound: PlayAudio(*sound), audio()),
    st.builds(ClearAudio, texts, numbers),
    st.builds(Checkpoint, texts, names),
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)
event_names = ["start", "media", "dtmf", "clearedAudio", "playedStream", "playAudio", "clearAudio", "checkpoint"]
keys = ["streamId", "callId", "start", "media", "digit", "dtmf", "sequenceNumber", "name", "payload", "contentType"]
near_media = st.fixed_dictionaries(
    {},
    optional={
        "payload": anything | st.just("1dXV"),
        "contentType": anything | st.sampled_from(["audio/PCMA", "audio/x-l16", "audio/x-mulaw"]),
        "sampleRate": anything | st.sampled_from([8000, "8000", 16000, 8000.0]),
    },
)
near_messages = st.builds(
    lambda event, media, rest: rest | {"event": event} | ({"media": media} if media is not None else {}),
    st.sampled_from(event_names) | anything,
    st.none() | near_media,
    st.dictionaries(st.sampled_from(keys), anything, max_size=6),
)


@given(events)
def test_every_event_is_read_back_as_it_was_rendered(event: Any) -> None:
    negotiated = event.format if isinstance(event, MediaReceived) else FORMATS[0]
    assert parse_event(render_event(event), negotiated) == event


@given(commands)
def test_every_command_is_read_back_as_it_was_rendered(command: Any) -> None:
    assert parse_command(render_command(command)) == command


@given(events | commands)
def test_what_is_rendered_is_ascii_json_whatever_a_name_holds(message: Any) -> None:
    render = render_command if isinstance(message, PlayAudio | ClearAudio | Checkpoint) else render_event
    rendered = render(message)
    assert rendered.isascii()
    assert isinstance(json.loads(rendered), dict)


def _is_read_or_dropped(frame: str | bytes, format: AudioFormat) -> None:
    for read in (
        lambda: parse_event(frame, format),
        lambda: parse_command(frame),
        lambda: parse_command(frame, format),
    ):
        try:
            read()
        except MessageDropped as dropped:
            assert str(dropped).startswith(dropped.reason)  # noqa: PT017 - both ways are right
    reader = EventReader(format)
    assert (reader.read(frame, 0.0) is None) == (reader.dropped.total() == 1)


@given(st.text() | st.binary(), formats)
@example("[" * 60_000, FORMATS[0])
@example('{"event":' * 6_000, FORMATS[0])
@example('{"event":"clearedAudio","sequenceNumber":' + "9" * 5000 + "}", FORMATS[0])
@example('{"event":"clearedAudio","sequenceNumber":' + "9" * 4000 + "}", FORMATS[0])
@example('{"event":"clearedAudio","sequenceNumber":1e999}', FORMATS[0])
@example('{"event":"clearedAudio","sequenceNumber":NaN}', FORMATS[0])
@example('{"event":"start","streamId":"\\ud800"}', FORMATS[0])
@example("\ud800", FORMATS[0])
@example('{"event":"media","media":{"payload":"\ud800","contentType":"\ud800"}}', FORMATS[0])
@example("\ufeff{}", FORMATS[0])
@example("", FORMATS[0])
def test_any_text_or_bytes_are_read_or_dropped(frame: str | bytes, format: AudioFormat) -> None:
    _is_read_or_dropped(frame, format)


@given(anything | near_messages, formats)
def test_any_json_is_read_or_dropped(message: Any, format: AudioFormat) -> None:
    _is_read_or_dropped(json.dumps(message), format)


ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@=+~-]{0,127}", fullmatch=True)
phones = st.from_regex(r"\+[0-9]{0,31}", fullmatch=True) | st.just("")
words = st.text(st.sampled_from("ABCXYZ_0123456789-:.T "), max_size=64)
optional_ids = ids | st.just("")


@given(st.builds(AnswerWebhook, ids, optional_ids, phones, phones, words, words, words))
def test_an_answer_webhook_is_read_back_as_it_was_sent(webhook: AnswerWebhook) -> None:
    assert parse_answer(webhook.to_fields()) == webhook


@given(st.builds(RingWebhook, optional_ids, ids, phones, phones, words, words))
def test_a_ring_webhook_is_read_back_as_it_was_sent(webhook: RingWebhook) -> None:
    assert parse_ring(webhook.to_fields()) == webhook


durations = st.floats(0, 86400) | st.integers(0, 86400).map(float)
hangups = st.builds(
    HangupWebhook, ids, optional_ids, phones, phones, words, words, durations, words, words, words, words
)


@given(hangups)
def test_a_hangup_webhook_is_read_back_as_it_was_sent(webhook: HangupWebhook) -> None:
    fields = webhook.to_fields()
    assert parse_hangup(json.loads(json.dumps(fields))) == webhook
    assert parse_hangup({name: str(value) for name, value in fields.items()}) == webhook  # as a query


webhook_keys = ["call_uuid", "request_uuid", "from", "to", "direction", "call_status", "duration", "answer_at"]


@pytest.mark.parametrize("parse", [parse_answer, parse_ring, parse_hangup])
@given(fields=st.dictionaries(st.sampled_from(webhook_keys) | st.text(), anything | st.just("abc-1"), max_size=8))
@example(fields={"call_uuid": "a", "duration": 10**4000, "from": 10**4000})
@example(fields={"call_uuid": "a", "duration": "nan", "from": "\ud800"})
def test_any_webhook_fields_are_read_or_rejected(parse: Any, fields: dict[str, Any]) -> None:
    try:
        parse(fields)
    except WebhookRejected as rejected:
        assert rejected.status == 400  # noqa: PT017


answers = st.builds(
    StreamAnswer,
    st.text().map(lambda rest: "wss://" + rest),
    formats,
    st.sampled_from(["BOTH", "INBOUND", "OUTBOUND"]),
    st.integers(1, 86400),
    st.dictionaries(st.text(), st.text()),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
)


@given(answers)
def test_a_stream_answer_is_read_back_as_it_was_given(answer: StreamAnswer) -> None:
    assert StreamAnswer.from_json(json.loads(json.dumps(answer.to_json()))) == answer


@given(anything | st.dictionaries(st.just("stream"), anything | st.dictionaries(st.text(), anything)))
def test_any_answer_is_read_or_rejected(answer: Any) -> None:
    try:
        StreamAnswer.from_json(answer)
    except WebhookRejected as rejected:
        assert str(rejected)  # noqa: PT017
