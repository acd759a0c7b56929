"""How a fake provider misbehaves: refuses, falls silent, drops the connection; and how slow it is when it behaves."""

import asyncio
from dataclasses import dataclass, field

from aiohttp import web

from tests.fakes.tones import SECONDS_PER_WORD
from worker.pipeline.offline.rules import Rules


@dataclass(frozen=True)
class Fault:
    """One way to misbehave.

    `status`: refuse with this HTTP status. `hangs`: take everything, answer nothing. `drops_after_s`: cut the socket.
    `errs`: answer with an error in the protocol, where it has such a message.
    """

    status: int = 0
    hangs: bool = False
    drops_after_s: float = 0
    errs: bool = False

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """From "", "401", "hang", "error" or "drop:2.5"."""
        if text.isdigit():
            return cls(status=int(text))
        if text.startswith("drop:"):
            return cls(drops_after_s=float(text.removeprefix("drop:")))
        if text not in ("", "hang", "error"):
            raise ValueError(f"no such fault: {text!r}")
        return cls(hangs=text == "hang", errs=text == "error")


@dataclass
class Behaviour:
    """One provider's latency (seconds) and fault, both changeable while it runs, and what it has seen."""

    latency_s: float
    fault: Fault = field(default_factory=Fault)
    connections: int = 0
    requests: int = 0
    seconds_per_word: float = SECONDS_PER_WORD  # of a voice
    seconds_per_token: float = 0.0  # of a model; a real one takes 10 to 20 ms, and what comes at once is read at once
    rules: Rules | None = None  # of a model, before it does what it does of itself
    heard: str = ""  # in speech of nobody that the tones tell of
    transports: list[asyncio.Transport] = field(default_factory=list, repr=False)  # of all connections that there were

    async def refuse(self) -> web.Response | None:
        """The refusal, if there is to be one."""
        self.requests += 1
        if self.fault.status:
            return web.json_response({"error": {"message": "as asked", "code": "fault"}}, status=self.fault.status)
        return None

    async def think(self) -> None:
        """Wait as long as the provider would take, or for ever."""
        if self.fault.hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(self.latency_s)

    def cut_later(self, request: web.Request) -> asyncio.TimerHandle | None:
        """Abort this connection after the fault's time, without a close frame; and with the next `cut`."""
        if request.transport is not None:
            self.transports.append(request.transport)
        if not self.fault.drops_after_s or request.transport is None:
            return None
        return asyncio.get_running_loop().call_later(self.fault.drops_after_s, request.transport.abort)

    def cut(self) -> None:
        """Abort every connection, without a close frame."""
        transports, self.transports = self.transports, []
        for transport in transports:
            transport.abort()
