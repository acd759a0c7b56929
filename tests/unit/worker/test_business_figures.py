"""Calls, minutes and provider usage, by bot and number group."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pipecat.frames.frames import MetricsFrame
from pipecat.metrics.metrics import (
    LLMTokenUsage,
    LLMUsageMetricsData,
    STTUsage,
    STTUsageMetricsData,
    TTFBMetricsData,
    TTSUsageMetricsData,
)

from shared.calls.outcome import Reason
from shared.telemetry.meter import Meter
from worker.observing import CallWatch
from worker.pipeline.usage import count_usage

WHOSE = {"bot": "a:bot", "number_group": "sales"}
NAMES = [("a:bot", "sales")]


@pytest.fixture
def meter() -> Meter:
    return Meter("worker", NAMES)


@pytest.fixture
def watch(meter: Meter) -> CallWatch:
    return CallWatch(meter, lambda: 0, whose=WHOSE)


def test_what_services_report_is_counted_for_the_calls_bot_and_group(meter: Meter, watch: CallWatch) -> None:
    tokens = LLMTokenUsage(prompt_tokens=100, completion_tokens=20, total_tokens=120)
    frame = MetricsFrame(
        data=[
            LLMUsageMetricsData(processor="OpenAILLMService#0", value=tokens),
            TTSUsageMetricsData(processor="CartesiaTTSService#3", value=48),
            STTUsageMetricsData(processor="DeepgramSTTService#1", value=STTUsage(audio_seconds=1.5)),
            TTFBMetricsData(processor="OpenAILLMService#0", value=0.2),
        ]
    )
    count_usage(frame, watch)
    count_usage(MetricsFrame(data=[TTSUsageMetricsData(processor="MyOwnVoice#0", value=5)]), watch)
    assert meter.value("sfvopi_llm_tokens_total", provider="openai", kind="prompt", **WHOSE) == 100
    assert meter.value("sfvopi_llm_tokens_total", provider="openai", kind="completion", **WHOSE) == 20
    assert meter.value("sfvopi_tts_characters_total", provider="cartesia", **WHOSE) == 48
    assert meter.value("sfvopi_tts_characters_total", provider="other", **WHOSE) == 5
    assert meter.value("sfvopi_stt_audio_seconds_total", provider="deepgram", **WHOSE) == 1.5


@pytest.mark.parametrize(
    ("reason", "age_s", "ended", "early"),
    [
        (Reason.CALLER_HUNG_UP, 5.0, "completed", 1),
        (Reason.CALLER_HUNG_UP, 15.0, "completed", 0),
        (Reason.BOT_ENDED, 5.0, "completed", 0),
        (Reason.BOT_ERROR, 5.0, "failed", 0),
        (None, 5.0, "", 0),
    ],
)
def test_a_session_is_counted_once_with_what_became_of_the_call(
    meter: Meter, watch: CallWatch, reason: Reason | None, age_s: float, ended: str, early: int
) -> None:
    watch.session_ended(reason, age_s)
    assert meter.value("sfvopi_bot_seconds_total", **WHOSE) > 0
    for result in ("completed", "failed"):
        assert meter.value("sfvopi_bot_calls_total", result=result, **WHOSE) == (result == ended)
    assert meter.value("sfvopi_early_hangups_total", **WHOSE) == early


async def test_a_call_is_counted_for_the_number_that_was_called(
    start_worker: Callable[..., Awaitable[Any]], until: Callable[..., Awaitable[Any]], tmp_path: Path
) -> None:
    bots = tmp_path / "bots.toml"
    bots.write_text('["+918000000001"]\nbot = "test:echo"\ngroup = "sales"\n')
    fleet = await start_worker(numbers_file=str(bots))
    for call_id, to_number in (("c-1", "+918000000001"), ("c-2", "+918000000002")):
        bot = "test:echo" if call_id == "c-1" else "test:scripted"
        carrier = await fleet.call(call_id, to_number=to_number, bot=bot, direction="INBOUND")
        await until(lambda call_id=call_id: fleet.app.sessions.get(call_id).stream.watch.pipeline_started.is_set())
        await carrier.hang_up()
        await fleet.ended(call_id)
    for bot, group in (("test:echo", "sales"), ("test:scripted", "default")):
        labels = {"bot": bot, "number_group": group}
        assert fleet.count("sfvopi_bot_calls_total", result="completed", **labels) == 1
        assert fleet.count("sfvopi_bot_seconds_total", **labels) > 0


def test_audio_that_leaves_late_is_counted(meter: Meter, watch: CallWatch) -> None:
    for late_s in (0.0, 0.049, 0.05, 0.3):
        watch.audio_sent(1.0, late_s)
    assert meter.value("sfvopi_late_frames_total") == 2
