"""Webhooks as the carrier documents them, and as it may send them; the Stream JSON that answers one."""

from typing import Any

import pytest

from shared.sfvopi.answer import StreamAnswer
from shared.sfvopi.errors import WebhookRejected
from shared.sfvopi.formats import PCMA_8K, AudioFormat, Codec
from shared.sfvopi.webhooks import AnswerWebhook, HangupWebhook, parse_answer, parse_hangup, parse_ring

HANGUP = {
    "call_uuid": "550e8400-e29b-41d4-a716-446655440000",
    "from": "+919876543210",
    "to": "+918031234567",
    "direction": "INBOUND",
    "call_status": "COMPLETED",
    "duration": 42,
    "started_at": "2025-01-01T10:00:00.000Z",
    "answer_at": "2025-01-01T10:00:02.000Z",
    "ended_at": "2025-01-01T10:00:44.000Z",
    "hangup_cause": "16",
}


def test_a_documented_answer_webhook_is_read() -> None:
    fields = {
        "call_uuid": "u-1",
        "request_uuid": "sfv_ob_req_1",
        "from": "+91987",
        "to": "+91803",
        "direction": "OUTBOUND",
        "call_status": "IN_PROGRESS",
        "answered_at": "2025-01-01T10:00:02.000Z",
        "something_new": {"nested": []},
    }
    expected = AnswerWebhook(
        "u-1", "sfv_ob_req_1", "+91987", "+91803", "OUTBOUND", "IN_PROGRESS", "2025-01-01T10:00:02.000Z"
    )
    assert parse_answer(fields) == expected


def test_an_answer_webhook_needs_nothing_but_the_call() -> None:
    assert parse_answer({"call_uuid": "u-1", "from": None}) == AnswerWebhook("u-1")


def test_a_documented_hangup_webhook_is_read_with_its_answer_at() -> None:
    webhook = parse_hangup(HANGUP)
    assert (webhook.duration_s, webhook.answer_at, webhook.hangup_cause) == (42.0, "2025-01-01T10:00:02.000Z", "16")
    assert webhook.to_fields() == HANGUP


def test_a_hangup_of_a_call_that_was_never_answered_has_no_answer_at() -> None:
    fields = {"request_uuid": "sfv_ob_req_1", "call_status": "NO_ANSWER", "duration": 0}
    webhook = parse_hangup(fields)
    assert webhook == HangupWebhook(request_uuid="sfv_ob_req_1", call_status="NO_ANSWER")
    assert webhook.to_fields() == fields


@pytest.mark.parametrize("absurd", [[], {}, True, "x" * 129, "\x00", "\ud800", 1e308, float("nan"), -1, 10**4000])
def test_a_hangup_that_names_its_call_ends_it_whatever_else_is_absurd(absurd: Any) -> None:
    """Incident that this guards against: a hangup is never sent twice; refused for its duration, the call lives on."""
    fields = dict.fromkeys(["from", "to", "direction", "call_status", "duration", "answer_at", "hangup_cause"], absurd)
    webhook = parse_hangup({"call_uuid": "u-1"} | fields)
    assert (webhook.call_uuid, webhook.duration_s) == ("u-1", 0.0)
    assert parse_hangup({"call_uuid": "u-1", "request_uuid": absurd}).call_uuid == "u-1"
    assert parse_hangup({"call_uuid": absurd, "request_uuid": "r-1"}).request_uuid == "r-1"


@pytest.mark.parametrize(
    "uuid", [None, "", 7, [], {}, True, "a b", "a/b", "a{b}", "-a", "x" * 129, "ü", "a\n", "\ud800"]
)
@pytest.mark.parametrize("parse", [parse_answer, parse_hangup, parse_ring])
def test_without_a_usable_id_a_webhook_is_rejected(parse: Any, uuid: Any) -> None:
    with pytest.raises(WebhookRejected, match="call_uuid") as caught:
        parse({"call_uuid": uuid})
    assert caught.value.status == 400


@pytest.mark.parametrize("field", ["from", "to", "direction", "call_status", "answered_at"])
@pytest.mark.parametrize("absurd", [[], {"a": 1}, True, 1.5, "x" * 65, "\x00"])
def test_an_answer_with_an_absurd_field_is_rejected_by_the_fields_name_alone(field: str, absurd: Any) -> None:
    with pytest.raises(WebhookRejected, match=f"^{field} is no text"):
        parse_answer({"call_uuid": "u-1", field: absurd})


@pytest.mark.parametrize("sent", ["+919876543210", " 919876543210", 919876543210])
def test_a_number_survives_a_query_that_did_not_quote_its_plus(sent: Any) -> None:
    assert parse_answer({"call_uuid": "u-1", "from": sent}).from_number.removeprefix("+") == "919876543210"
    assert parse_answer({"call_uuid": "u-1", "from": " 919"}).from_number == "+919"


def test_a_ring_needs_only_one_of_the_ids() -> None:
    assert parse_ring({"request_uuid": "r-1"}).request_uuid == "r-1"
    assert parse_ring({"call_uuid": "u-1"}).call_uuid == "u-1"


def test_the_stream_json_looks_as_the_carrier_documents_it() -> None:
    answer = StreamAnswer("wss://h/ws/t", PCMA_8K, stream_timeout_s=3660, extra_headers={"X-Call-UUID": "u-1"})
    assert answer.to_json() == {
        "stream": {
            "url": "wss://h/ws/t",
            "codec": "PCMA",
            "sample_rate": 8000,
            "direction": "BOTH",
            "stream_timeout": 3660,
            "extra_headers": {"X-Call-UUID": "u-1"},
        }
    }


def test_switches_of_older_documents_are_sent_only_when_set() -> None:
    stream = StreamAnswer("wss://h", bidirectional=True, keep_call_alive=False).to_json()["stream"]
    assert (stream["bidirectional"], stream["keep_call_alive"]) == (True, False)


def test_an_answer_of_a_url_alone_is_a_law_both_ways_for_a_day() -> None:
    assert StreamAnswer.from_json({"stream": {"url": "wss://h"}}) == StreamAnswer("wss://h")


@pytest.mark.parametrize(
    "stream",
    [
        None,
        [],
        {},
        {"url": "https://h"},
        {"url": "wss://h", "codec": "OPUS"},
        {"url": "wss://h", "codec": "PCMA", "sample_rate": 16000},
        {"url": "wss://h", "sample_rate": "8000"},
        {"url": "wss://h", "sample_rate": True},
        {"url": "wss://h", "direction": "SIDEWAYS"},
        {"url": "wss://h", "stream_timeout": 0},
        {"url": "wss://h", "extra_headers": {"a": 1}},
        {"url": "wss://h", "bidirectional": "yes"},
    ],
)
def test_an_answer_that_the_carrier_could_not_use_is_rejected(stream: Any) -> None:
    with pytest.raises(WebhookRejected, match="stream"):
        StreamAnswer.from_json({"stream": stream})


def test_l16_may_be_wide() -> None:
    answer = StreamAnswer.from_json({"stream": {"url": "wss://h", "codec": "L16", "sample_rate": 48000}})
    assert answer.format == AudioFormat(Codec.L16, 48000)
