"""Answer webhooks at a steady rate, over connections that stay open: how long each answer takes.

Open loop: a late answer holds up no later question, as each has a connection of its own until it is answered.
"""

import asyncio
import time
from collections import deque
from urllib.parse import urlsplit

from shared.carrier.load import wire
from shared.sfvopi.webhooks import AnswerWebhook

ANSWERED_WITHIN_S = 5.0


class Asker(asyncio.Protocol):
    """One connection, one question at a time."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[wire.Response] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, request: bytes) -> "asyncio.Future[wire.Response]":
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._answer and not self._answer.done() and (response := wire.read_response(self._received)):
            self._received = b""
            self._answer.set_result(response)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the connection was closed"))

    def close(self) -> None:
        self._transport.close()


async def ask_steadily(url: str, per_s: float, seconds: float, prefix: str) -> list[float]:
    """Seconds that each answer took. Raises RuntimeError for one that is no 200."""
    parts = urlsplit(url)
    loop, free, took = asyncio.get_running_loop(), deque[Asker](), list[float]()

    async def ask(number: int) -> None:
        webhook = AnswerWebhook(f"{prefix}-{number}", from_number="+919876543210", to_number="+918000000001")
        request = wire.post(url, {**webhook.to_fields(), "direction": "INBOUND"}, keeps_open=True)
        asker = free.pop() if free else (await loop.create_connection(Asker, parts.hostname, parts.port))[1]
        asked_at = time.monotonic()
        response = await asyncio.wait_for(asker.ask(request), ANSWERED_WITHIN_S)
        took.append(time.monotonic() - asked_at)
        if response.status != 200:
            raise RuntimeError(f"the answer webhook got {response.status}: {response.body.decode()[:200]}")
        free.append(asker)

    try:
        async with asyncio.TaskGroup() as asking:
            begin = time.monotonic()
            for number in range(round(per_s * seconds)):
                await asyncio.sleep(begin + number / per_s - time.monotonic())
                asking.create_task(ask(number))
    finally:
        for asker in free:
            asker.close()
    return took
