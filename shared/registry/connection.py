"""How Redis is asked: connections, timeouts, scripts, listening. Knows no key and no record.

Whatever goes wrong on the way is `RegistryAway`. No question is repeated, since it may have been answered. When an
answer does not come in time, all other questions fail at once for a moment, those that wait for a connection, too: a
Redis that hangs costs one caller a timeout, not every one of them, one after the other.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import NoPermissionError, NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from shared.registry.address import RedisAddress, close_pool
from shared.registry.contract import RegistryAway
from shared.registry.scripts import Scripts

T = TypeVar("T")
Run = tuple[AsyncScript, Sequence[str], Sequence[object]]
"""A script, its keys and its arguments."""

SILENT_FOR_S = 0.2  # after an answer that did not come: nobody else waits for one meanwhile
HAS_CLOSED = "the handler is closed"
SILENCE_S = 5.0  # a listener that hears nothing for so long asks whether anybody is there


class Connection:
    """A bounded pool of connections, made when first needed. Timeouts in seconds."""

    def __init__(
        self,
        address: RedisAddress,
        *,
        command_timeout_s: float,
        connect_timeout_s: float,
        wait_s: float,
        max_connections: int,
    ) -> None:
        self._wait_s = wait_s
        self._is_closed = False
        self._silent_until = 0.0
        self._room = asyncio.Semaphore(max_connections)
        options = {
            "decode_responses": True,
            "encoding_errors": "surrogatepass",  # JSON from outside may hold half a character
            "socket_connect_timeout": connect_timeout_s,
            "max_connections": max_connections,
            "lib_name": None,  # two round trips less on every connect
            "lib_version": None,
        }
        if address.scheme != "unix":
            options["socket_keepalive"] = True
        self._pool = address.pool(**options, socket_timeout=command_timeout_s)
        # nudges come when they come: their connections have no read timeout
        self._nudge_pool = address.pool(**options, socket_timeout=None)
        self.redis = Redis(connection_pool=self._pool)
        self.scripts = Scripts.of(self.redis)

    async def run(self, script: AsyncScript, where: Sequence[str], *told: object) -> Any:
        """Run a script on these keys, with these arguments."""
        return await self.ask(lambda: script(keys=list(where), args=[str(value) for value in told]))

    async def run_all(self, runs: Sequence[Run]) -> None:
        """Run scripts in one round trip, whatever they return; one that Redis does not know is run once more, alone."""

        async def run() -> list[Any]:
            async with self.redis.pipeline(transaction=False) as pipe:
                for script, where, told in runs:
                    pipe.evalsha(script.sha, len(where), *where, *map(str, told))
                answers: list[Any] = await pipe.execute(raise_on_error=False)
                return answers

        fault: RedisError | None = None
        for (script, where, told), answer in zip(runs, await self.ask(run), strict=True):
            if isinstance(answer, NoScriptError):
                await self.run(script, where, *told)
            elif isinstance(answer, RedisError):
                fault = answer  # of one; the others have been run, or are
        if fault is not None:
            raise RegistryAway(f"Redis is away: {describe(fault)}") from fault

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """The answer to a question that is put through `redis`."""
        self._check_open()
        self._check_answers()
        try:
            if self._room.locked():  # a deadline costs as much as all the rest of this
                async with asyncio.timeout(self._wait_s):
                    await self._room.acquire()
            else:
                await self._room.acquire()
        except TimeoutError:
            raise RegistryAway(f"no connection to Redis was free within {self._wait_s:g} s") from None
        try:
            self._check_answers()
            return await question()
        except RedisTimeout as error:
            self._silent_until = time.monotonic() + SILENT_FOR_S
            raise RegistryAway("Redis does not answer") from error
        except (RedisError, OSError, UnicodeError, RuntimeError) as error:
            raise_if_ours(error)
            raise RegistryAway(f"Redis is away: {describe(error)}") from error
        except asyncio.CancelledError as cancelled:
            if type(cancelled) is asyncio.CancelledError:
                raise
            # one of the waits that Pipecat puts in below Python 3.12, by which no deadline knows its own work
            raise asyncio.CancelledError from None
        finally:
            self._room.release()

    async def listen(self, channel: str) -> AsyncIterator[str]:
        """Messages to a channel, until Redis goes away. Subscribes when the first one is asked for."""
        listener = Redis(connection_pool=self._nudge_pool).pubsub()
        try:
            self._check_open()
            await listener.subscribe(channel)
            has_asked = False
            while True:
                heard = await listener.get_message(timeout=SILENCE_S)
                if heard is not None and heard["type"] == "message":
                    yield heard["data"]
                elif heard is None and has_asked:
                    raise RegistryAway("Redis does not answer its listener")
                elif heard is None:
                    await listener.ping()
                has_asked = heard is None
        except (RedisError, OSError, UnicodeError, RuntimeError) as error:
            raise_if_ours(error)
            raise RegistryAway(f"Redis is away: {describe(error)}") from error
        finally:
            await listener.aclose()  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Give sockets back; whatever is asked after this finds nobody."""
        self._is_closed = True
        await close_pool(self._pool)
        await close_pool(self._nudge_pool)

    def _check_answers(self) -> None:
        if time.monotonic() < self._silent_until:
            raise RegistryAway("Redis has just not answered")

    def _check_open(self) -> None:
        if self._is_closed:
            raise RegistryAway("the registry was closed")


def describe(error: BaseException) -> str:
    """What Redis says of a missing right; of any other fault its kind, for its text may hold what was written."""
    return str(error) if isinstance(error, NoPermissionError) else type(error).__name__


def raise_if_ours(error: Exception) -> None:
    """A RuntimeError is a fault of ours, unless uvloop says with it that the peer had closed before we wrote."""
    if isinstance(error, RuntimeError) and HAS_CLOSED not in str(error):
        raise error
