"""Bots of this fleet under another runner: Pipecat's own with its client, with a telephone, and an evaluation."""

import asyncio
import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
import structlog
import websockets
from pipecat.runner.types import DailyRunnerArguments
from pipecat.transports.base_transport import TransportParams

from tests.fakes.pipecat_runner import an_app, served
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import NOBODY, caller_speech, heard_voices
from worker.bots import receptionist
from worker.evaluation import Unusable, evaluate, main
from worker.pipeline import elsewhere
from worker.pipeline.transport import SFVoPITransport

DOCS = Path(__file__).parents[4] / "docs"

pytestmark = pytest.mark.xdist_group("calls in real time")


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFVOPI_TOKEN_SECRETS", "a secret for tests")


async def until(is_so: Any, seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.02)


async def test_the_receptionist_greets_and_answers_an_app_of_pipecats(fakes: FakeProviders) -> None:
    async with served(receptionist.bot) as runner, an_app(runner.url) as app:
        await until(lambda: app.heard_s > 2.5)
        await asyncio.sleep(1.5)
        assert list(heard_voices(bytes(app.heard))) == [NOBODY]
        await app.say(caller_speech(5))
        await until(lambda: 5 in heard_voices(bytes(app.heard)))
        await app.hang_up()
        await until(lambda: runner.ended)
        assert runner.ended == [None], "the bot's handler of the hangup ended it"
        assert not [message for message in app.messages if message.get("event") == "checkpoint"]


async def test_a_client_that_speaks_rtvi_is_answered_by_a_bot_that_has_none(fakes: FakeProviders) -> None:
    async with served(receptionist.bot) as runner, an_app(runner.url) as app:
        await app.send({"label": "rtvi-ai", "type": "client-ready", "id": "1", "data": {"version": "1.2.0"}})
        await until(lambda: any(message.get("type") == "bot-ready" for message in app.messages))


async def test_a_telephone_of_pipecats_is_found_out_by_its_first_messages(fakes: FakeProviders) -> None:
    async with (
        served(receptionist.bot, transport_type=None) as runner,
        websockets.connect(runner.url, proxy=None) as phone,
    ):
        start = {"stream_sid": "S1", "call_sid": "C1", "account_sid": "A1", "from": "1", "to": "2"}
        await phone.send(json.dumps({"event": "start", "stream_sid": "S1", "start": start}))
        silence = base64.b64encode(b"\0" * 320).decode()
        await phone.send(json.dumps({"event": "media", "media": {"payload": silence}}))
        heard = b""
        async with asyncio.timeout(15):
            while len(heard) < 8000:
                message = json.loads(await phone.recv())
                assert message["event"] in ("media", "clear"), "no RTVI, and no checkpoints of another wire"
                if message["event"] == "media":
                    heard += base64.b64decode(message["media"]["payload"])
        assert NOBODY in heard_voices(heard)


async def test_a_session_whose_transport_cannot_be_made_ends_and_says_why(fakes: FakeProviders) -> None:
    start = {"event": "start", "start": {"streamId": "S1", "callId": "C1"}}
    with structlog.testing.capture_logs() as lines:
        async with (
            served(receptionist.bot, transport_type=None) as runner,
            websockets.connect(runner.url, proxy=None) as phone,
        ):
            await phone.send(json.dumps(start))  # Plivo's; and no keys of Plivo's are set
            await phone.send(json.dumps(start))
            await until(lambda: runner.ended, 10)
    assert "auth_id" in next(line["error"] for line in lines if line["event"] == "no transport for this session")


async def test_every_other_runner_is_asked_for_with_the_same_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    async def stock(runner_args: Any, transport_params: Any) -> Any:
        asked.append((runner_args, transport_params))
        raise ConnectionError("enough")

    monkeypatch.setattr(elsewhere, "STOCK", stock)
    arguments = DailyRunnerArguments("https://a.room")
    transport = SFVoPITransport.for_call(arguments, TransportParams(audio_out_volume=0.5))
    with pytest.raises(ConnectionError):
        await transport._transport()  # type: ignore[union-attr]
    assert asked[0][0] is arguments
    made = {key: asked[0][1][key]() for key in ("websocket", "webrtc", "twilio", "plivo", "eval")}
    assert {(params.audio_in_enabled, params.audio_out_volume) for key, params in made.items() if key != "eval"} == {
        (True, 0.5)
    }
    assert made["websocket"].serializer is not None


# -- evaluations

SCENARIOS = """
name: receptionist
scenarios:
  - name: answers
    turns:
      - user: "this is caller 5"
        expect:
          - event: response
            text_contains: "You said: this is caller 5"
  - name: ends_the_call
    turns:
      - user: "goodbye"
        expect:
          - event: function_call
            name: end_call
  - name: wants_too_much
    turns:
      - user: "hello"
        expect:
          - event: response
            text_contains: "a poem"
"""


async def test_scripted_evaluations_run_against_the_receptionist(fakes: FakeProviders, tmp_path: Path) -> None:
    (tmp_path / "scenarios.yaml").write_text(SCENARIOS)
    report = await evaluate("worker.bots.receptionist:bot", [tmp_path / "scenarios.yaml"], within_s=4)
    told = {scenario["name"].split("/")[-1]: scenario for scenario in report["scenarios"]}
    assert {name: scenario["passed"] for name, scenario in told.items()} == {
        "answers": True,
        "ends_the_call": True,
        "wants_too_much": False,
    }
    assert told["wants_too_much"]["failures"][0]["kind"] == "text_mismatch"
    assert not report["passed"]


async def test_the_scenario_of_the_documents_passes_against_the_offline_script(
    fakes: FakeProviders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFVOPI_LLM", "scripted")
    (block,) = re.findall(r"```yaml\n(# greeting\.yaml\n.*?)```", (DOCS / "bots.md").read_text(), re.DOTALL)
    (tmp_path / "greeting.yaml").write_text(block)
    report = await evaluate("worker.bots.receptionist:bot", [tmp_path / "greeting.yaml"], within_s=10)
    assert report["passed"], report


CREATES = """
from pipecat.frames.frames import LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.runner.utils import create_transport
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams
from pipecat.workers.runner import WorkerRunner

async def bot(runner_args):
    transport = await create_transport(runner_args, {"twilio": lambda: FastAPIWebsocketParams(audio_in_enabled=True)})
    user, assistant = LLMContextAggregatorPair(LLMContext())
    steps = [transport.input(), user, OpenAILLMService(), transport.output(), assistant]
    pipeline = PipelineWorker(Pipeline(steps), enable_rtvi=False)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(pipeline)
    await runner.run()
"""


async def test_a_bot_with_create_transport_needs_neither_rtvi_nor_parameters_for_an_evaluation(
    fakes: FakeProviders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "eval_me.py").write_text(CREATES)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "scenarios.yaml").write_text(SCENARIOS.split("  - name: ends")[0])
    report = await evaluate("eval_me:bot", [tmp_path / "scenarios.yaml"], within_s=5)
    assert report["passed"], report


async def test_what_cannot_be_evaluated_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: x\nscenarios: 3\n")
    (tmp_path / "good.yaml").write_text(SCENARIOS)
    with pytest.raises(Unusable, match=r"bad\.yaml"):
        await evaluate("worker.bots.receptionist:bot", [tmp_path / "bad.yaml"])
    with pytest.raises(Unusable, match=r"none\.yaml"):
        await evaluate("worker.bots.receptionist:bot", [tmp_path / "none.yaml"])
    with pytest.raises(Unusable, match="no module 'nobody'"):
        await evaluate("nobody:bot", [tmp_path / "good.yaml"])


def test_its_command_line_prints_one_object_and_its_status_says_whether_all_passed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Any] = []

    async def stub(bot: str, files: Any, within_s: float) -> dict[str, Any]:
        given.append((bot, files, within_s))
        return {"bot": bot, "passed": bot == "good:bot", "scenarios": []}

    monkeypatch.setattr("worker.evaluation.evaluate", stub)
    assert main(["good:bot", "a.yaml", "b.yaml", "--within", "3"]) == 0
    assert main(["bad:bot", "a.yaml"]) == 1
    assert json.loads(capsys.readouterr().out.split("\n{")[0])["passed"]
    assert given[0] == ("good:bot", [Path("a.yaml"), Path("b.yaml")], 3.0)
