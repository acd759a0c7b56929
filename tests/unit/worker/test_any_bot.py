"""A bot that was written for another transport runs here as it is, or its developer is told which line to change."""

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipecat
import pytest
from pipecat.audio.mixers.base_audio_mixer import BaseAudioMixer
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    UserAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner import utils
from pipecat.runner.types import DailyRunnerArguments, SmallWebRTCRunnerArguments
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams
from pipecat.workers.runner import WorkerRunner

from shared.settings.numbers import NumberPlan
from shared.sfvopi.formats import PCMA_8K
from tests.bench import sounds
from worker.bot_loader import BotLoader, BotNotFound
from worker.pipeline import create_transport as ours
from worker.pipeline.foreign import event_never_called, parameters_not_used
from worker.pipeline.resampler import Resampler
from worker.pipeline.transport import SFVoPITransport
from worker.rehearsal import rehearse

PLAN = NumberPlan("test:bot", PCMA_8K)
OURS = {"on_client_connected", "on_client_disconnected"}


@pytest.fixture(autouse=True)
def _stock_again() -> Any:
    yield
    utils.create_transport = ours.STOCK


@pytest.fixture
def write_bot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[Any], Any]]:
    """Load a bot from these files, as a worker does."""

    def write(text: str, **others: str) -> Callable[[Any], Any]:
        for name, source in {"a_bot": text, **others}.items():
            (tmp_path / f"{name}.py").write_text(source)
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(tmp_path)
        return BotLoader().load("a_bot:bot")

    return write


# -- create_transport

CREATES = """
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.runner.utils import create_transport, parse_telephony_websocket
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams
from pipecat.workers.runner import WorkerRunner

PARAMS = {"twilio": lambda: FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True)}
SEEN = []

async def bot(runner_args):
    SEEN.append(await parse_telephony_websocket(runner_args.websocket))
    transport = await create_transport(runner_args, PARAMS)
    SEEN.append(transport)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(PipelineWorker(Pipeline([transport.input(), transport.output()])))
    await runner.run()
"""


async def test_a_bot_with_pipecats_create_transport_runs_unchanged(write_bot: Any) -> None:
    done = await rehearse("a_bot:bot", write_bot(CREATES), PLAN)
    assert done.fault == ""
    (kind, call_data), transport = sys.modules["a_bot"].SEEN
    assert isinstance(transport, SFVoPITransport)
    assert (kind, call_data["call_id"]) == ("sfvopi", "rehearsal"), "what a bot for a telephone asks first"


async def test_its_call_is_taken(write_bot: Any, start_worker: Any) -> None:
    bot = write_bot(CREATES)
    fleet = await start_worker()
    fleet.bots.bots["test:created"] = bot
    carrier = await fleet.call("call-1", bot="test:created")
    await fleet.app.sessions.all()[-1].stream.watch.pipeline_started.wait()
    await carrier.send({"event": "stop", "streamId": "S1"})
    await carrier.hang_up()
    record = await fleet.ended()
    assert (record.result, record.reason) == ("completed", "stream_closed")


class Mixer(BaseAudioMixer):
    async def start(self, sample_rate: int) -> None: ...
    async def stop(self) -> None: ...
    async def process_frame(self, frame: Any) -> None: ...
    async def mix(self, audio: bytes) -> bytes:
        return audio


def not_installed() -> TransportParams:
    raise ImportError("no such transport")


@pytest.mark.parametrize(
    ("keys", "taken"),
    [
        (("daily", "webrtc", "twilio", "sfvopi"), "sfvopi"),
        (("websocket", "daily", "plivo"), "plivo"),
        (("telnyx", "twilio"), "twilio"),
        (("exotel", "websocket"), "exotel"),
        (("daily", "websocket"), "websocket"),
        (("daily", "webrtc"), "daily"),
    ],
)
def test_a_telephones_parameters_are_taken_before_others(keys: tuple[str, ...], taken: str) -> None:
    params = {key: lambda key=key: TransportParams(audio_out_destinations=[key]) for key in keys}
    assert ours.params_for_a_phone(params).audio_out_destinations == [taken]


def test_parameters_that_cannot_be_made_here_are_passed_over() -> None:
    given = {"daily": not_installed, "webrtc": lambda: TransportParams(audio_out_volume=0.5)}
    assert ours.params_for_a_phone(given).audio_out_volume == 0.5
    assert ours.params_for_a_phone({"daily": not_installed}) == TransportParams()
    assert ours.params_for_a_phone({}) == TransportParams()


def test_what_is_named_for_us_must_be_made() -> None:
    with pytest.raises(ImportError):
        ours.params_for_a_phone({"sfvopi": not_installed, "webrtc": TransportParams})
    with pytest.raises(TypeError, match=r"'sfvopi'.*dict"):
        ours.params_for_a_phone({"sfvopi": dict})


async def test_mixer_filter_and_volume_are_taken_over_and_the_rest_is_named() -> None:
    mixer = Mixer()
    params = FastAPIWebsocketParams(
        audio_in_enabled=True, audio_out_mixer=mixer, session_timeout=60, video_out_enabled=True, add_wav_header=True
    )
    seen: list[Any] = []

    async def bot(runner_args: Any) -> None:
        seen.append(await ours.create_transport(runner_args, {"websocket": lambda: params}))
        await run(seen[0])

    done = await rehearse("b", bot, PLAN)
    assert seen[0].output()._params.audio_out_mixer is mixer
    assert [remark.split(" is not used")[0] for remark in done.remarks] == [
        "the transport's parameter session_timeout",
        "the transport's parameter video_out_enabled",
    ]
    assert "SFVOPI_MAX_CALL_S" in done.remarks[0]


def test_parameters_that_mean_nothing_but_were_not_given_are_not_named() -> None:
    assert parameters_not_used(TransportParams(audio_in_enabled=True, video_in_enabled=False)) == []


@pytest.mark.parametrize("arguments", [DailyRunnerArguments("https://x"), SmallWebRTCRunnerArguments(None)])
async def test_elsewhere_it_is_pipecats_own(arguments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stock(*given: Any) -> Any:
        return given

    monkeypatch.setattr(ours, "STOCK", stock)
    assert await ours.create_transport(arguments, {}) == (arguments, {})  # type: ignore[comparison-overlap]


def test_the_stock_function_is_the_one_that_is_known() -> None:
    assert tuple(inspect.signature(ours.STOCK).parameters) == ours.SIGNATURE


def test_another_create_transport_than_the_known_one_stays(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    import structlog

    async def newer(runner_args: Any, transport_params: Any, more: Any) -> None: ...

    monkeypatch.setattr(utils, "create_transport", newer)
    monkeypatch.setattr(ours, "STOCK", newer)
    with structlog.testing.capture_logs() as lines:
        ours.install()
    assert utils.create_transport is newer
    assert "SFVoPITransport.for_call(runner_args)" in lines[0]["event"]
    monkeypatch.undo()


# -- Pipecat's own transport, built by hand

BY_HAND = """
import asyncio
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

async def bot(runner_args):
    _, call_data = await parse_telephony_websocket(runner_args.websocket)
    serializer = TwilioFrameSerializer(
        call_data["stream_id"],
        call_sid=call_data["call_id"],
        params=TwilioFrameSerializer.InputParams(auto_hang_up=False),
    )
    transport = FastAPIWebsocketTransport(
        runner_args.websocket,
        FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=serializer),
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(PipelineWorker(Pipeline([transport.input(), transport.output()])))
    await runner.run()
"""


async def test_a_transport_of_pipecats_over_a_call_is_named_at_the_rehearsal(write_bot: Any) -> None:
    done = await rehearse("a_bot:bot", write_bot(BY_HAND), PLAN)
    assert "in place of FastAPIWebsocketTransport(…) and its serializer, write SFVoPITransport.for_call" in done.fault
    assert done.took_s < 10, "nobody waits for a pipeline that cannot come"


async def test_and_its_call_ends_at_once_as_the_bots_fault(write_bot: Any, start_worker: Any) -> None:
    fleet = await start_worker()
    fleet.bots.bots["test:by_hand"] = write_bot(BY_HAND)
    await fleet.call("call-1", bot="test:by_hand")
    record = await fleet.ended()
    assert (record.result, record.reason) == ("failed", "bot_error")


async def test_what_a_bot_may_only_look_up_on_a_websocket_is_simply_not_there() -> None:
    seen: list[Any] = []

    async def bot(runner_args: Any) -> None:
        seen.append(getattr(runner_args.websocket, "headers", "none"))
        seen.append(hasattr(runner_args.websocket, "anything"))
        await run(SFVoPITransport.for_call(runner_args))

    assert (await rehearse("b", bot, PLAN)).fault == ""
    assert seen == ["none", False]


async def test_what_it_cannot_do_without_is_said_to_be_elsewhere() -> None:
    async def bot(runner_args: Any) -> None:
        runner_args.websocket.query_params.get("agent")

    assert "is in runner_args.body and runner_args.call_data" in (await rehearse("b", bot, PLAN)).fault


# -- imports of what is not installed

NEEDS_DAILY = "from pipecat.transports.daily.transport import DailyParams\nasync def bot(runner_args): ...\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (NEEDS_DAILY, "a_bot.py:1: `from pipecat.transports.daily.transport import DailyParams`"),
        (
            "\n\nimport pipecat.transports.livekit.transport\n",
            "a_bot.py:3: `import pipecat.transports.livekit.transport`",
        ),
        (
            "from pipecat.transports.smallwebrtc.transport import (\n    SmallWebRTCTransport,\n)\n",
            "a_bot.py:1: `from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport`",
        ),
        ("if True:\n    from pipecat.transports.local.audio import LocalAudioTransport as T\n", "a_bot.py:2: `from "),
    ],
)
def test_a_transport_that_is_not_installed_names_the_line_to_delete(write_bot: Any, text: str, line: str) -> None:
    with pytest.raises(BotNotFound) as refused:
        write_bot(text)
    assert line in str(refused.value)
    assert "delete the line" in str(refused.value)
    assert "pipecat-ai[" not in str(refused.value)


def test_it_is_named_in_the_file_that_has_it(write_bot: Any) -> None:
    with pytest.raises(BotNotFound, match=r"a_helper\.py:1: `from pipecat\.transports\.daily"):
        write_bot("import a_helper\n", a_helper=NEEDS_DAILY)


def test_a_service_that_is_not_installed_names_its_extra(write_bot: Any) -> None:
    with pytest.raises(BotNotFound, match=r"a_bot\.py:1: .*pip install 'pipecat-ai\[google\]'"):
        write_bot("from pipecat.services.google.llm import GoogleLLMService\n")


@pytest.mark.parametrize(
    ("text", "today"),
    [
        (
            "from pipecat.transports.network.fastapi_websocket import FastAPIWebsocketParams\n",
            "`from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams`",
        ),
        (
            "from pipecat.services.openai import OpenAILLMService\n",
            "`from pipecat.services.openai.llm import OpenAILLMService`",
        ),
        ("from pipecat.frames.frames import TransportMessageFrame\n", "Moving the guide's bot here"),
        ("import pipecat.vad.silero\n", "Moving the guide's bot here"),
    ],
)
def test_what_was_moved_in_pipecat_is_named_with_its_place_of_today(write_bot: Any, text: str, today: str) -> None:
    with pytest.raises(BotNotFound) as refused:
        write_bot(text)
    assert f"a_bot.py:1: `{text.strip()}`" in str(refused.value)
    assert today in str(refused.value)
    assert "pip install" not in str(refused.value)


async def test_a_bot_that_fails_over_a_carriers_serializer_is_told_that_it_needs_none(write_bot: Any) -> None:
    """Twilio's wants keys of Twilio's, which nobody has who has a call of this fleet."""
    done = await rehearse("a_bot:bot", write_bot(BY_HAND.replace("auto_hang_up=False", "auto_hang_up=True")), PLAN)
    assert done.fault.startswith("a_bot.py:")
    assert "write SFVoPITransport.for_call(runner_args)" in done.fault


async def test_a_bot_that_turns_away_arguments_that_it_does_not_know_is_told_which_they_are() -> None:
    async def bot(runner_args: Any) -> None:
        if not isinstance(runner_args, DailyRunnerArguments):
            return

    assert "comes as WebSocketRunnerArguments" in (await rehearse("b", bot, PLAN)).fault


async def test_the_id_of_a_client_is_the_calls() -> None:
    seen: list[str] = []

    async def bot(runner_args: Any) -> None:
        transport = SFVoPITransport.for_call(runner_args)
        seen.append(transport.get_client_id(object()))
        await run(transport)

    await rehearse("b", bot, PLAN)
    assert seen == ["rehearsal"]


def test_other_faults_of_an_import_are_told_as_they_are(write_bot: Any) -> None:
    with pytest.raises(BotNotFound, match=r"ZeroDivisionError: division by zero"):
        write_bot("1 / 0\n")
    with pytest.raises(BotNotFound, match="cannot import name 'Frames'"):
        write_bot("from pipecat.frames.frames import Frames\n")


async def test_an_import_within_the_bot_is_named_by_its_rehearsal(write_bot: Any) -> None:
    text = "async def bot(runner_args):\n    from pipecat.transports.daily.transport import DailyParams\n"
    assert "a_bot.py:2: `from pipecat.transports.daily" in (await rehearse("a", write_bot(text), PLAN)).fault


# -- handlers of events that others have


def events_of_pipecats_transports() -> set[str]:
    sources = "\n".join(file.read_text() for file in (Path(pipecat.__file__).parent / "transports").rglob("*.py"))
    return set(re.findall(r'_register_event_handler\(\s*"([\w-]+)"', sources)) - OURS


def test_every_event_of_pipecats_transports_has_something_of_ours_beside_it() -> None:
    names = events_of_pipecats_transports()
    assert len(names) > 40
    told = {name: event_never_called(name) for name in names}
    assert {name for name, sentence in told.items() if sentence.endswith(event_never_called("?")[-60:])} <= {
        "closed", "connecting", "failed", "new",
        *(name for name in names if "-" in name or "network" in name or "participant_updated" in name),
    }  # fmt: skip
    assert "on_client_connected" in told["on_first_participant_joined"]
    assert "on_client_connected" in told["on_dialout_answered"]
    assert "on_client_disconnected" in told["on_dialout_error"]
    assert "on_client_disconnected" in told["on_participant_left"]
    assert "InputDTMFFrame" in told["on_dtmf_event"]


async def test_handlers_of_other_transports_are_named_at_the_rehearsal() -> None:
    async def bot(runner_args: Any) -> None:
        transport = SFVoPITransport.for_call(runner_args)
        for name in ("on_first_participant_joined", "on_dialout_error", "on_app_message", "on_client_connected"):

            @transport.event_handler(name)
            async def handle(transport: Any, *_: Any) -> None: ...

        await run(transport)

    done = await rehearse("b", bot, PLAN)
    assert done.fault == ""
    assert [remark.split()[3] for remark in done.remarks] == [
        "on_first_participant_joined",
        "on_dialout_error",
        "on_app_message",
    ]


# -- audio that is pushed into the transport


class Keeps(FrameProcessor):
    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        await self.push_frame(frame, direction)

    def has(self, kind: type[Frame]) -> bool:
        return any(isinstance(frame, kind) for frame in self.frames)


async def run(transport: Any, *processors: FrameProcessor) -> None:
    user, assistant = LLMContextAggregatorPair(LLMContext())
    pipeline = PipelineWorker(
        Pipeline([transport.input(), *processors, user, transport.output(), assistant]),
        params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
        enable_rtvi=False,
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(pipeline)
    await runner.run()


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
@pytest.mark.parametrize("way", ["process_frame", "push_audio_frame", "queued"])
async def test_speech_in_pushed_audio_is_noticed_as_the_callers_is(fleet: Any, until: Any, rate: int, way: str) -> None:
    keeps, transports = Keeps(), []

    async def bot(runner_args: Any) -> None:
        transports.append(SFVoPITransport.for_call(runner_args))
        await run(transports[0], keeps)

    fleet.bots.bots["test:pushed"] = bot
    await fleet.call("call-1", bot="test:pushed")
    stream = fleet.app.sessions.all()[-1].stream
    await stream.watch.pipeline_started.wait()
    silence, speech = sounds.noise(0.5, rms=5), sounds.speech()[8000:40000]
    pcm = silence + speech + silence * 3
    pcm = pcm if rate == 8000 else Resampler(8000, rate).resample(pcm)
    for at in range(0, len(pcm), rate // 50 * 2):
        frame = UserAudioRawFrame(audio=pcm[at : at + rate // 50 * 2], sample_rate=rate, num_channels=1, user_id="me")
        match way:
            case "process_frame":
                await transports[0].input().process_frame(frame, FrameDirection.DOWNSTREAM)
            case "push_audio_frame":
                await transports[0].input().push_audio_frame(frame)
            case "queued":
                await stream.pipeline.queue_frame(frame)
    await until(lambda: keeps.has(VADUserStoppedSpeakingFrame), 10)
    assert keeps.has(VADUserStartedSpeakingFrame)
    passed = [frame for frame in keeps.frames if isinstance(frame, InputAudioRawFrame)]
    assert b"".join(frame.audio for frame in passed) == pcm
    assert {type(frame) for frame in passed} == {UserAudioRawFrame}, "what was pushed goes on as it came"
