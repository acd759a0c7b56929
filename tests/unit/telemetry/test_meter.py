"""What /metrics says: closed sets, names of the bots file, single calls as exemplars, and what any process has."""

import pytest

from shared.telemetry.catalogue import BOT_SECONDS, FIRST_AUDIO_SECONDS, PROCESS_MEMORY_BYTES
from shared.telemetry.meter import Meter

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def test_a_single_call_can_be_found_by_its_exemplar_and_is_no_label() -> None:
    meter = Meter("worker")
    meter.observe(FIRST_AUDIO_SECONDS, 0.42, call_id="call-1")
    body, content_type = meter.render(OPENMETRICS)
    (line,) = (line for line in body.decode().splitlines() if "call-1" in line)
    assert line.startswith('sfvopi_first_audio_seconds_bucket{le="0.5"} 1.0 # {call_id="call-1"} 0.42 ')
    assert content_type.startswith("application/openmetrics-text")
    body, content_type = meter.render("text/plain")
    assert "call-1" not in body.decode()
    assert content_type.startswith("text/plain")


def test_a_call_id_too_long_for_an_exemplar_is_left_out_and_the_value_counts() -> None:
    meter = Meter("worker")
    meter.observe(FIRST_AUDIO_SECONDS, 0.42, call_id="x" * 500)
    assert meter.value("sfvopi_first_audio_seconds_count") == 1
    assert b"xxx" not in meter.render(OPENMETRICS).body


def test_bots_are_named_as_the_bots_file_names_them_and_all_else_is_other() -> None:
    meter = Meter("worker", [("a:bot", "sales")])
    for bot, group in (("a:bot", "sales"), ("nobody:knows", "+919812345678")):
        labels = {"bot": meter.name_of("bot", bot), "number_group": meter.name_of("number_group", group)}
        meter.count(BOT_SECONDS, 2, **labels)
    assert meter.value("sfvopi_bot_seconds_total", bot="a:bot", number_group="sales") == 2
    assert meter.value("sfvopi_bot_seconds_total", bot="other", number_group="other") == 2
    with pytest.raises(ValueError, match="not a value of label bot"):
        meter.count(BOT_SECONDS, 1, bot="nobody:knows", number_group="sales")


def test_a_counter_with_few_values_is_zero_before_it_counts() -> None:
    body = Meter("worker", [("a:bot", "sales")]).render(OPENMETRICS).body.decode()
    assert 'sfvopi_resumptions_total{result="afresh"} 0.0' in body
    assert 'sfvopi_provider_errors_total{fault="auth",provider="openai"} 0.0' in body
    assert 'sfvopi_bot_calls_total{bot="a:bot",number_group="sales",result="failed"} 0.0' in body
    assert 'sfvopi_bot_seconds_total{bot="a:bot",number_group="sales"} 0.0' in body
    assert "sfvopi_llm_tokens_total{" not in body, "eight providers for every bot would be many"


def test_a_process_tells_of_its_memory_and_of_nothing_twice() -> None:
    body = Meter("worker").render(OPENMETRICS).body.decode()
    (line,) = (line for line in body.splitlines() if line.startswith(f"{PROCESS_MEMORY_BYTES.name} "))
    assert float(line.split()[1]) > 1_000_000
    assert "_created" not in body
