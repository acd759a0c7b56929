"""All fake providers on one port, in one event loop: `async with FakeProviders() as fakes:`, or as a process,
`python -m tests.fakes.providers --port 0 --json`, which prints its port and the environment that leads to it.

`POST /fakes` changes faults and latencies while it runs: `{"deepgram": {"fault": "drop:2", "latency_s": 0.3}}`;
`GET /fakes` tells what each provider has seen.
"""

import argparse
import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from tests.fakes import cartesia, deepgram, elevenlabs, openai, openai_realtime
from tests.fakes.faults import Behaviour, Fault
from tests.fakes.tones import SECONDS_PER_WORD
from worker.pipeline.offline.rules import Rules

Handler = Callable[[web.Request, Behaviour], Awaitable[web.StreamResponse]]


class FakeProviders:
    """Four providers. Their behaviours are attributes; the environment for a worker is `env`."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        stt_s: float = 0.1,
        llm_s: float = 0.2,
        tts_s: float = 0.1,
        word_s: float = SECONDS_PER_WORD,
        token_s: float = 0.0,
        heard: str = "",
        rules: Rules | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.deepgram = Behaviour(stt_s, heard=heard)
        self.openai = Behaviour(llm_s, seconds_per_token=token_s, rules=rules)
        self.cartesia = Behaviour(tts_s, seconds_per_word=word_s)
        self.elevenlabs = Behaviour(tts_s, seconds_per_word=word_s)
        self._runner: web.AppRunner | None = None

    @property
    def env(self) -> dict[str, str]:
        """Variables with which a worker uses these providers and no others."""
        return {
            "DEEPGRAM_URL": f"ws://{self.host}:{self.port}",
            "DEEPGRAM_API_KEY": "fake-deepgram-key",
            "OPENAI_BASE_URL": f"http://{self.host}:{self.port}/v1",
            "OPENAI_API_KEY": "fake-openai-key",
            "OPENAI_REALTIME_URL": f"ws://{self.host}:{self.port}/v1/realtime",
            "CARTESIA_URL": f"ws://{self.host}:{self.port}/tts/websocket",
            "CARTESIA_API_KEY": "fake-cartesia-key",
            "ELEVENLABS_URL": f"ws://{self.host}:{self.port}",
            "ELEVENLABS_API_KEY": "fake-elevenlabs-key",
            "SFVOPI_STT": "deepgram",
            "SFVOPI_LLM": "openai",
            "SFVOPI_TTS": "cartesia",
        }

    @property
    def behaviours(self) -> dict[str, Behaviour]:
        """The providers by name."""
        return {name: getattr(self, name) for name in ("deepgram", "openai", "cartesia", "elevenlabs")}

    async def __aenter__(self) -> Self:
        app = web.Application()
        speech = "/v1/text-to-speech/{voice}/multi-stream-input"
        app.add_routes(
            [
                web.get("/v1/listen", _with(deepgram.listen, self.deepgram)),
                web.post("/v1/chat/completions", _with(openai.complete, self.openai)),
                web.get("/v1/realtime", _with(openai_realtime.converse, self.openai)),
                web.post("/v1/audio/speech", _with(openai.speak, self.openai)),
                web.post("/v1/audio/transcriptions", _with(openai.transcribe, self.openai)),
                web.get("/tts/websocket", _with(cartesia.synthesise, self.cartesia)),
                web.get(speech, _with(elevenlabs.synthesise, self.elevenlabs)),
                web.get("/fakes", self._tell),
                web.post("/fakes", self._change),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _tell(self, _: web.Request) -> web.Response:
        seen = {
            name: {"connections": behaviour.connections, "requests": behaviour.requests}
            for name, behaviour in self.behaviours.items()
        }
        return web.json_response(seen)

    async def _change(self, request: web.Request) -> web.Response:
        for name, change in (await request.json()).items():
            behaviour = self.behaviours[name]
            behaviour.fault = Fault.parse(change.get("fault", ""))
            behaviour.latency_s = change.get("latency_s", behaviour.latency_s)
        return await self._tell(request)


def _with(handler: Handler, behaviour: Behaviour) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    return partial(handler, behaviour=behaviour)


async def serve(options: argparse.Namespace) -> None:
    """Run until killed."""
    fakes = FakeProviders(
        host=options.host,
        port=options.port,
        stt_s=options.stt,
        llm_s=options.llm,
        tts_s=options.tts,
        word_s=options.word,
        token_s=options.token,
        heard=options.heard,
        rules=Rules.parse(options.rules.read_text()) if options.rules else None,
    )
    for given in options.fault:
        name, _, fault = given.partition("=")
        fakes.behaviours[name].fault = Fault.parse(fault)
    async with fakes:
        lines = [f"{name}={value}" for name, value in fakes.env.items()]
        print(json.dumps({"port": fakes.port, "env": fakes.env}) if options.json else "\n".join(lines), flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of KEY=value lines")
    parser.add_argument("--stt", type=float, default=0.1, metavar="S", help="latency of recognition")
    parser.add_argument("--llm", type=float, default=0.2, metavar="S", help="to the model's first word")
    parser.add_argument("--tts", type=float, default=0.1, metavar="S", help="to the voice's first audio")
    parser.add_argument("--word", type=float, default=SECONDS_PER_WORD, metavar="S", help="how long a spoken word is")
    parser.add_argument("--token", type=float, default=0.0, metavar="S", help="from each word of the model to the next")
    parser.add_argument(
        "--heard", default="", metavar="TEXT", help="what is recognised in speech without tones, as of a load"
    )
    parser.add_argument("--rules", type=Path, metavar="FILE", help="what the model answers and calls, as SFVOPI_SCRIPT")
    parser.add_argument("--fault", action="append", default=[], metavar="PROVIDER=401|429|hang|error|drop:SECONDS")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
