"""A deploy that cannot work: each bot fails every call, and its rehearsal says so; a provider that is away is no fault.

Seen: a bot was edited so that it raised, `sfvopi restart` said "3 processes replaced", and every call got the apology.
"""

import asyncio
import errno
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import httpx2
import openai
import pytest
import websockets
from pipecat.frames.frames import ErrorFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.utils.errors import ErrorCategory
from pipecat.workers.runner import WorkerRunner

from shared.settings import SettingsError, WorkerSettings
from shared.settings.numbers import NumberPlan
from shared.sfvopi.formats import PCMA_8K
from tests.fakes.faults import Fault
from tests.fakes.providers import FakeProviders
from worker import rehearsal
from worker.bot_loader import BotLoader, BotNotFound
from worker.pipeline.faults import is_away, is_final, is_provider_away, said_by_status
from worker.pipeline.services import current_settings, make_stt, make_tts
from worker.pipeline.services.current import use_settings
from worker.pipeline.transport import SFVoPITransport
from worker.rehearsal import Rehearsed, Verdict, rehearse
from worker.tasks import install_task_factory

COMMON = """
import asyncio, os, sys
from pipecat.frames.frames import StartFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.workers.base_worker import BaseWorker
from pipecat.workers.runner import WorkerRunner
from worker.pipeline.services import current_settings, make_tts
from worker.pipeline.transport import SFVoPITransport

NOBODY = ("127.0.0.1", 9)

class Step(FrameProcessor):
    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        await self.take(frame, direction)
        await self.push_frame(frame, direction)

    async def take(self, frame, direction):
        pass

async def run(arguments, *steps, helpers=()):
    transport = SFVoPITransport.for_call(arguments)
    pipeline = PipelineWorker(
        Pipeline([transport.input(), *steps, transport.output()]),
        params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
        enable_rtvi=False,
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(pipeline, *helpers)
    await runner.run()
"""

# the bot, and what its developer reads
FAILED = {
    "a name that is not": ("async def bot(a):\n    await run(a, Stpe())", "a_bot.py:35: NameError: name 'Stpe'"),
    "a key by name": ("async def bot(a):\n    os.environ['CRM_KEY_OF_OURS']", "KeyError: 'CRM_KEY_OF_OURS'"),
    "a service's key": (
        "async def bot(a):\n"
        "    s = current_settings().model_copy(update={'tts': 'cartesia'})\n"
        "    await run(a, make_tts(s))",
        "SFVOPI_TTS=cartesia needs CARTESIA_API_KEY",
    ),
    "an unknown service": (
        "async def bot(a):\n    make_tts(current_settings().model_copy(update={'tts': 'cartesio'}))",
        "'cartesio' is not known",
    ),
    "a file that is not there": ("async def bot(a):\n    open('prompt-of-ours.txt')", "FileNotFoundError"),
    "returns at once": ("async def bot(a):\n    return", "it ended without a pipeline"),
    "exits": ("async def bot(a):\n    sys.exit(3)", "SystemExit: 3"),
    "cancels itself": ("async def bot(a):\n    raise asyncio.CancelledError", "it was cancelled"),
    "waits for ever": ("async def bot(a):\n    await asyncio.Event().wait()", "it waits at a_bot.py:35"),
    "a processor's setup raises": (
        "class Model(Step):\n"
        "    async def setup(self, setup):\n"
        "        await super().setup(setup)\n"
        "        raise RuntimeError('no model file')\n"
        "async def bot(a):\n    await run(a, Model())",
        "Model: a_bot.py:37: RuntimeError: no model file",
    ),
    "the start raises": (
        "class Model(Step):\n"
        "    async def take(self, frame, direction):\n"
        "        if isinstance(frame, StartFrame): raise KeyError('model')\n"
        "async def bot(a):\n    await run(a, Model())",
        "its pipeline did not start: Model: a_bot.py:36: KeyError: 'model'",
    ),
    "the StartFrame is lost": (
        "class Lost(FrameProcessor):\n"
        "    async def process_frame(self, frame, direction):\n"
        "        await super().process_frame(frame, direction)\n"
        "async def bot(a):\n    await run(a, Lost())",
        "the StartFrame stays at Lost",
    ),
    "the start hangs": (
        "class Slow(Step):\n"
        "    async def take(self, frame, direction):\n"
        "        if isinstance(frame, StartFrame): await asyncio.sleep(3600)\n"
        "async def bot(a):\n    await run(a, Slow())",
        "the StartFrame stays at Slow",
    ),
    "raises beside its pipeline": (
        "async def bot(a):\n"
        "    async def boom():\n"
        "        await asyncio.sleep(0.1)\n"
        "        raise ValueError('beside')\n"
        "    await asyncio.gather(run(a), boom())",
        "ValueError: beside",
    ),
    "a fault in the handling of an outage": (
        "async def bot(a):\n"
        "    try:\n"
        "        await asyncio.open_connection(*NOBODY)\n"
        "    except OSError:\n"
        "        logg('the CRM is away')",
        "NameError: name 'logg'",
    ),
    "a text with digits": ("async def bot(a):\n    raise ValueError('429 503 timeout')", "ValueError: 429 503 timeout"),
}

NOT_FOUND = {
    "raises at its import": ("raise ValueError('at import')\nasync def bot(a): pass", "a_bot.py:34: ValueError"),
    "a syntax error": ("async def bot(a:\n    pass", r"SyntaxError.*line 34"),
    "is not async": ("def bot(a): pass", "is not `async def`"),
    "has another name": ("async def bto(a): pass", "has no 'bot'"),
}

AWAY = {
    "refused": "async def bot(a):\n    await asyncio.open_connection(*NOBODY)",
    "no such host": "async def bot(a):\n    await asyncio.open_connection('no-such-host.invalid', 80)",
    "in time": "async def bot(a):\n    await asyncio.wait_for(asyncio.sleep(9), 0.01)",
    "told in the bot's own words": (
        "async def bot(a):\n"
        "    try:\n"
        "        await asyncio.open_connection(*NOBODY)\n"
        "    except OSError:\n"
        "        raise RuntimeError('the CRM is away')"
    ),
    "in a group of tasks": (
        "async def bot(a):\n"
        "    async with asyncio.TaskGroup() as group:\n"
        "        group.create_task(asyncio.open_connection(*NOBODY))"
    ),
    "while a processor is set up": (
        "class Voice(Step):\n"
        "    async def setup(self, setup):\n"
        "        await super().setup(setup)\n"
        "        await asyncio.open_connection(*NOBODY)\n"
        "async def bot(a):\n    await run(a, Voice())"
    ),
}


@pytest.fixture(autouse=True)
async def _tasks_belong_to_sessions() -> None:
    install_task_factory(asyncio.get_running_loop())


@pytest.fixture
def write_bot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A bot of this source, loaded as a worker loads it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *__import__("sys").path])
    monkeypatch.delitem(__import__("sys").modules, "a_bot", raising=False)
    monkeypatch.setattr(rehearsal, "DEADLINE_S", 0.5)
    monkeypatch.setattr(rehearsal, "START_S", 1.0)
    monkeypatch.setattr(rehearsal, "ERROR_S", 0.5)
    use_settings(WorkerSettings.read(token_secrets="the-signing-key-of-tests"))

    def write(text: str) -> Any:
        (tmp_path / "a_bot.py").write_text(COMMON.lstrip() + "\n\n" + textwrap.dedent(text) + "\n")
        return BotLoader().load("a_bot:bot")

    yield write
    __import__("sys").modules.pop("a_bot", None)


async def rehearsed(bot: Any) -> Rehearsed:
    return await rehearse("a_bot:bot", bot, NumberPlan("a_bot:bot", PCMA_8K))


@pytest.mark.parametrize(("text", "told"), FAILED.values(), ids=FAILED.keys())
async def test_a_bot_that_no_call_could_go_on_with_fails_and_its_developer_reads_why(
    write_bot: Callable[[str], Any], text: str, told: str
) -> None:
    done = await rehearsed(write_bot(text))
    assert (done.verdict, told in done.fault) == (Verdict.FAILED, True), done.fault


@pytest.mark.parametrize(("text", "told"), NOT_FOUND.values(), ids=NOT_FOUND.keys())
def test_a_bot_that_cannot_be_imported_says_where(write_bot: Callable[[str], Any], text: str, told: str) -> None:
    with pytest.raises(BotNotFound, match=told):
        write_bot(text)


@pytest.mark.parametrize("text", AWAY.values(), ids=AWAY.keys())
async def test_a_provider_that_is_away_is_no_fault_of_the_bot(write_bot: Callable[[str], Any], text: str) -> None:
    done = await rehearsed(write_bot(text))
    assert done.verdict is Verdict.AWAY, done.fault


async def test_an_error_that_a_processor_recovers_from_is_none(write_bot: Callable[[str], Any]) -> None:
    once = """
    class Once(Step):
        async def take(self, frame, direction):
            if isinstance(frame, StartFrame): await self.push_error('once')
    async def bot(a): await run(a, Once())
    """
    assert (await rehearsed(write_bot(once))).verdict is Verdict.READY


async def test_a_bot_of_several_workers_is_rehearsed_in_a_second(write_bot: Callable[[str], Any]) -> None:
    """Its helpers wait for messages, and end with the call and not by themselves."""
    done = await rehearsed(write_bot("async def bot(a): await run(a, Step(), helpers=[BaseWorker('h')])"))
    assert done.verdict is Verdict.READY
    assert done.took_s < 1.0


# -- what an exception says


class Status(Exception):
    def __init__(self, status: int, *, by: str = "status_code") -> None:
        setattr(self, by, status)


class Answered(Exception):
    def __init__(self, status: int) -> None:
        self.response = SimpleNamespace(status_code=status)


async def raised(work: Any) -> BaseException:
    try:
        await work
    except Exception as error:
        return error
    raise AssertionError("it raised nothing")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 402])
def test_a_status_that_may_pass_is_an_absence(status: int) -> None:
    assert is_provider_away(Status(status))
    assert is_provider_away(Status(status, by="status"))
    assert is_provider_away(Answered(status))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_status_that_stays_is_a_fault_of_the_settings(status: int) -> None:
    error = Status(status)
    error.__cause__ = ConnectionResetError()
    assert not is_provider_away(error), "the answer came, whatever happened to its connection"


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT])
def test_a_network_that_does_not_answer_is_an_absence(number: int) -> None:
    assert is_provider_away(OSError(number, "any words"))


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "x"), PermissionError(13, "x"), ValueError("503"), SettingsError("x"), KeyError("x")]
)
def test_what_says_nothing_of_a_provider_is_the_bots(error: Exception) -> None:
    assert not is_provider_away(error)


async def test_what_was_raised_from_nothing_is_not_looked_behind() -> None:
    async def hides() -> None:
        try:
            raise ConnectionRefusedError
        except OSError:
            raise ValueError("a wrong answer of ours") from None

    assert not is_provider_away(await raised(hides()))


@pytest.mark.parametrize("kind", ["httpx", "httpx2", "aiohttp", "openai", "websockets"])
async def test_the_libraries_that_services_use_are_understood(kind: str) -> None:
    async def with_aiohttp() -> None:
        async with aiohttp.ClientSession() as session:
            await session.get("http://127.0.0.1:9/")

    async def with_websockets() -> None:
        await websockets.connect("ws://127.0.0.1:9/", proxy=None)

    asked = {
        "httpx": lambda: httpx.AsyncClient(trust_env=False).get("http://127.0.0.1:9/"),
        "httpx2": lambda: httpx2.AsyncClient(trust_env=False).get("http://127.0.0.1:9/"),
        "aiohttp": with_aiohttp,
        "openai": lambda: openai.AsyncOpenAI(api_key="x", base_url="http://127.0.0.1:9", max_retries=0).models.list(),
        "websockets": with_websockets,
    }
    async with asyncio.timeout(20):
        assert is_provider_away(await raised(asked[kind]()))


@pytest.mark.parametrize(
    ("category", "away", "final"),
    [
        (ErrorCategory.CONNECTIVITY, True, False),
        (ErrorCategory.SERVER, True, False),
        (ErrorCategory.RATE_LIMIT, True, False),
        (ErrorCategory.QUOTA, True, False),
        (ErrorCategory.AUTHENTICATION, False, True),
        (ErrorCategory.AUTHORIZATION, False, True),
        (ErrorCategory.INVALID_REQUEST, False, True),
        (ErrorCategory.UNKNOWN, False, False),
        (ErrorCategory.APPLICATION, False, False),
    ],
)
def test_an_error_of_a_service_is_judged_by_its_category(category: ErrorCategory, away: bool, final: bool) -> None:
    error = ErrorFrame("401 429 503 timeout", category=category)
    assert (is_away(error), is_final(error)) == (away, final)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "the provider answers with 401 Unauthorized: is its key right?"),
        (404, "the provider answers with 404 Not Found: are address, model and voice right?"),
        (503, "the provider answers with 503 Service Unavailable"),
        (799, ""),
    ],
)
def test_a_refusal_is_told_by_its_status_and_not_by_a_whole_request(status: int, told: str) -> None:
    assert said_by_status(ErrorFrame("headers: …", exception=Status(status))) == told


@pytest.mark.parametrize(
    ("status", "verdict", "told"),
    [(401, Verdict.FAILED, "is its key right?"), (404, Verdict.FAILED, "voice right?"), (503, Verdict.AWAY, "503")],
)
@pytest.mark.parametrize("provider", ["deepgram", "cartesia"])
async def test_pipecats_own_services_say_whether_it_is_the_key_or_the_provider(
    monkeypatch: pytest.MonkeyPatch, provider: str, status: int, verdict: Verdict, told: str
) -> None:
    async with FakeProviders() as fakes:
        for name, value in fakes.env.items():
            monkeypatch.setenv(name, value)
        use_settings(WorkerSettings.read(token_secrets="the-signing-key-of-tests"))
        getattr(fakes, provider).fault = Fault(status=status)
        done = await rehearsed(speaks)
    assert (done.verdict, told in done.fault, "headers" in done.fault) == (verdict, True, False), done.fault


async def speaks(arguments: Any) -> None:
    transport, settings = SFVoPITransport.for_call(arguments), current_settings()
    pipeline = PipelineWorker(
        Pipeline([transport.input(), make_stt(settings), make_tts(settings), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
        enable_rtvi=False,
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(pipeline)
    await runner.run()
