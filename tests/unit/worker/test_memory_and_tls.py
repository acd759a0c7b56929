"""What a worker shares among its calls, so that a call costs neither a stall nor memory that comes back late."""

import asyncio
import gc
import ssl
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from shared.process import memory
from shared.process.memory import freeze_what_stays
from shared.settings import WorkerSettings
from worker import tls
from worker.pipeline import services
from worker.pipeline.finish import close_clients


class Knot:
    """Garbage that only the collector can tell from what is in use."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def frozen() -> Iterator[None]:
    thresholds = gc.get_threshold()
    libraries = [[] for _ in range(300_000)]  # type: ignore[var-annotated]
    gc.collect()
    freeze_what_stays()
    yield
    assert libraries
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def settings(**given: Any) -> WorkerSettings:
    keys = {f"{name}_api_key": SecretStr("key") for name in ("deepgram", "openai", "cartesia", "elevenlabs")}
    return WorkerSettings(_env_file=None, token_secrets=SecretStr("s"), **keys, **given)  # type: ignore[call-arg]


def tls_contexts() -> int:
    return sum(issubclass(type(thing), ssl.SSLContext) for thing in gc.get_objects())  # isinstance asks weak proxies


@pytest.mark.usefixtures("frozen")
def test_what_a_call_leaves_is_collected_a_few_calls_later() -> None:
    knot = Knot()
    gone = weakref.ref(knot)
    gc.collect(1)  # a call lives long enough to be old
    del knot
    kept = [[] for _ in range(40_000)]  # type: ignore[var-annotated]
    assert gone() is None
    assert kept


@pytest.mark.usefixtures("frozen")
async def test_calls_that_come_cause_no_look_at_everything_and_a_dozen_that_have_ended_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "LET_GO_S", 0.0)
    gc.set_threshold(700, 10, memory.RARELY)
    ended, looks = memory.EndedCalls(), gc.get_stats()[2]["collections"]
    knot = Knot()
    gone = weakref.ref(knot)
    gc.collect(1)
    del knot
    kept = [[] for _ in range(100_000)]  # type: ignore[var-annotated]
    for _ in range(memory.ENDED_CALLS - 1):
        ended.one_more()
    await asyncio.sleep(0.01)
    assert gc.get_stats()[2]["collections"] == looks
    for _ in range(10):  # end together
        ended.one_more()
    await asyncio.sleep(0.01)
    assert gone() is None
    assert gc.get_stats()[2]["collections"] == looks + 1
    assert kept


@pytest.mark.parametrize("deepgram_url", ["", "ws://127.0.0.1:9"])
async def test_a_calls_services_make_no_tls_contexts(deepgram_url: str) -> None:
    tls.http_context()
    given = settings(deepgram_url=deepgram_url)
    before = tls_contexts()
    made: list[Any] = [
        services.make_stt(given),
        services.make_stt(given.model_copy(update={"stt": "openai"})),
        services.make_llm(given),
        services.make_tts(given),
        services.make_tts(given.model_copy(update={"tts": "elevenlabs"})),
        services.make_tts(given.model_copy(update={"tts": "openai"})),
    ]
    assert tls_contexts() == before
    for service in made:
        await service.cleanup()


async def test_the_sessions_end_closes_the_clients_of_its_services(monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(stt="openai", tts="openai")
    made: list[Any] = [services.make_stt(given), services.make_llm(given), services.make_tts(given)]
    monkeypatch.setattr("worker.pipeline.finish.processors_in", lambda _: made)
    await close_clients(type("Pipeline", (), {"pipeline": None, "_worker_runner": None})())
    assert [service._client.is_closed() for service in made] == [True, True, True]


def test_connections_share_a_context_that_verifies(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ssl.SSLContext] = []
    original = ssl.create_default_context

    def counted(*args: Any, **options: Any) -> ssl.SSLContext:
        made.append(original(*args, **options))
        return made[-1]

    async def connect_twice() -> None:
        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for _ in range(2):
            with pytest.raises(ConnectionError):  # it does not speak TLS
                await asyncio.open_connection("127.0.0.1", port, ssl=True)
        server.close()
        await server.wait_closed()

    monkeypatch.setattr(ssl, "create_default_context", counted)
    tls._connection_context.cache_clear()
    with asyncio.Runner(loop_factory=tls.new_event_loop) as runner:
        runner.run(connect_twice())
    assert len(made) == 1
    assert made[0].verify_mode is ssl.CERT_REQUIRED
    assert made[0].check_hostname
