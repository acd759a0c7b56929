"""One call through real processes, with its trace as a collector receives it: from the webhook to the turns."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shared.carrier.call import place_call
from shared.carrier.plan import CallPlan, Say, WaitForBot
from shared.carrier.report import CallOutcome, CallReport
from shared.cli.fleet import LocalFleet
from tests.fakes.collector import FakeCollector, SpanSeen
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import caller_speech

pytestmark = pytest.mark.fleet

CALLER = 8
NUMBER = "+919876543210"
HEADERS = {"OTEL_EXPORTER_OTLP_HEADERS": "x-team=phones"}
PIPECATS = {"pipecat", "pipecat.turn"}


async def converse(fleet: LocalFleet) -> CallReport:
    """Greeting, a question, its answer, a goodbye; the bot ends the call."""
    plan = CallPlan(
        answer_url=fleet.answer_url,
        hangup_url=fleet.hangup_url,
        call_uuid="traced",
        from_number=NUMBER,
        steps=(
            WaitForBot(quiet_s=0.6, limit_s=10),
            Say(text="question", pcm=caller_speech(CALLER)),
            WaitForBot(quiet_s=0.6, limit_s=10),
            Say(text="goodbye", pcm=caller_speech(CALLER, "goodbye")),
            WaitForBot(quiet_s=5, limit_s=10),
        ),
        max_s=40,
    )
    report = await place_call(plan)
    assert report.outcome is CallOutcome.COMPLETED, report.to_dict()
    return report


async def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


async def trace_of_a_call(**env: str) -> tuple[FakeCollector, str]:
    """The spans of one call's trace are in the collector; and what the caller said, as the timeline would show it."""
    async with (
        FakeProviders() as providers,
        FakeCollector() as collector,
        LocalFleet(workers=1, env={**providers.env, **collector.env, **HEADERS, **env}) as fleet,
    ):
        await converse(fleet)
        await until(lambda: collector.named("session") and collector.named("POST /webhook/hangup"))
        call = (await fleet.api.call("traced"))["call"]
        (session,) = collector.named("session")
        assert session.trace_id in call["traceparent"]  # who has the call finds its trace
        assert collector.headers["x-team"] == "phones"
    return collector, session.trace_id  # processes have left: whatever they had is sent


def ancestors(span: SpanSeen, spans: list[SpanSeen]) -> list[str]:
    by_id = {other.span_id: other for other in spans}
    names = []
    while span.parent_id:
        span = by_id[span.parent_id]
        names.append(span.name)
    return names


async def test_a_call_is_one_trace_from_the_webhook_to_the_turns_and_tells_nothing_that_was_said() -> None:
    collector, trace_id = await trace_of_a_call()
    spans = [span for span in collector.spans if span.trace_id == trace_id]
    others = [span for span in collector.spans if span.trace_id != trace_id]
    (rehearsal,) = [span for span in others if span.name == "rehearsal"]
    assert {span.trace_id for span in others} == {rehearsal.trace_id}  # whatever is not the call's is the rehearsal's

    def one(name: str) -> SpanSeen:
        (span,) = [span for span in spans if (span.name, span.scope) == (name, "sfvopi")]
        return span

    answer, session, hangup = one("POST /webhook/answer"), one("session"), one("POST /webhook/hangup")
    assert (answer.parent_id, answer.kind, answer.service) == ("", 2, "sfvopi-gateway")  # 2: a server's
    assert answer.attributes["http.response.status_code"] == 200
    place = one("place")
    assert place.parent_id == session.parent_id == hangup.parent_id == answer.span_id
    assert (place.attributes["sfvopi.verdict"], session.service) == ("reserved", "sfvopi-worker")
    assert session.attributes["sfvopi.call_id"] == answer.attributes["sfvopi.call_id"] == "traced"
    assert (session.attributes["sfvopi.reason"], session.status) == ("bot_ended", 0)
    assert {name for name, _ in session.events} >= {"stream_started", "first_audio"}

    turns = [span for span in spans if (span.name, span.scope) == ("turn", "sfvopi")]
    assert len(turns) == session.attributes["sfvopi.turns"] == 2
    for turn, seen in zip(turns, (["stt", "llm", "tts"], ["stt", "tts"]), strict=True):  # the goodbye is a tool's
        assert turn.parent_id == session.span_id
        stages = [span for span in spans if span.parent_id == turn.span_id]
        assert [stage.name for stage in stages] == [f"turn.{stage}" for stage in seen]
        assert all(turn.began_ns <= stage.began_ns <= stage.ended_ns <= turn.ended_ns for stage in stages)

    theirs = [span for span in spans if span.scope in PIPECATS]
    assert {span.name for span in theirs} >= {"conversation", "turn", "stt", "llm", "tts"}
    for span in theirs:
        assert ancestors(span, spans)[-2:] == ["session", "POST /webhook/answer"]
    (conversation,) = [span for span in theirs if span.name == "conversation"]
    assert conversation.attributes["conversation.id"] == "traced"
    assert any("gen_ai.usage.input_tokens" in span.attributes for span in theirs)

    for said in (f"caller {CALLER}", "Welcome to the", "Garden Restaurant", "You are", NUMBER, NUMBER[1:]):
        assert said not in collector.texts, said


@pytest.mark.slow
async def test_what_was_said_is_in_a_trace_when_transcripts_are_on() -> None:
    collector, _ = await trace_of_a_call(SFVOPI_TRANSCRIPTS="on")
    heard = [span.attributes.get("transcript", "") for span in collector.named("stt", "pipecat")]
    assert any(f"caller {CALLER}" in text for text in heard), heard
    assert any(
        "Garden Restaurant" in span.attributes.get("input", "") + span.attributes.get("gen_ai.system_instructions", "")
        for span in collector.named("llm", "pipecat")
    )
    assert NUMBER not in collector.texts


@pytest.mark.slow
async def test_a_collector_that_is_away_is_noticed_in_the_log_and_by_no_caller() -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    async with FakeProviders() as providers, LocalFleet(workers=1, env={**providers.env, **env}) as fleet:
        await converse(fleet)
        for name in ("gateway", "worker-1"):
            await until(lambda name=name: any("traces are not taken" in line["event"] for line in fleet.logs(name)))
            lines = [line for line in fleet.logs(name) if "trace" in line["event"] or "opentelemetry" in line["logger"]]
            assert len(lines) == 1, lines
