"""The two ends of a leg: the carrier's stream (we are its server) and the worker's (we are its client).

Both receive and send frames as they are and raise `EndClosed` when the stream is over. Nearly all frames are whole
texts, fifty a second and call: these have a way of their own, without a queue or a task (`listen`, `say`). Close codes
are carried over; those that may not be sent are replaced by what fits.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.frames import CTRL_OPCODES, Opcode
from websockets.frames import Frame as WireFrame
from websockets.protocol import Event, State

from gateway.lane import Frame
from shared.fleet.path import PATH_HEADER, RELAYED
from shared.process.server import MAX_MESSAGE_BYTES, WRITE_BUFFER_BYTES, bound_stream_socket
from shared.sfvopi.closing import CloseCode, Refusal

CONNECT_DEADLINE_S = 2.0  # TCP: a worker that is gone is noticed by then
ACCEPT_DEADLINE_S = 3.0  # the worker may look for 1.5 s whether an older stream of the call is dead
CLOSE_DEADLINE_S = 1.0
# a worker that stands still for so long is given up, and its calls go elsewhere: the caller hears nothing meanwhile
WORKER_PING_S, WORKER_PONG_DEADLINE_S = 1.0, 2.5
NO_STATUS, LOST = 1005, 1006

# what belongs to the carrier's own handshake with us; everything else of its upgrade reaches the worker …
_HANDSHAKE_HEADERS = frozenset({"host", "connection", "upgrade", "content-length", "transfer-encoding"})
# … but for what nginx, gateways and workers say among themselves: from outside it means nothing
_OUR_HEADERS = frozenset({PATH_HEADER, "x-failed-worker", "x-original-uri", "x-worker"})
MOST_HEADERS, LONGEST_HEADER = 32, 512


class EndClosed(Exception):
    """This end of the leg is over, with this close code (1006: lost)."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class WorkerRefused(Exception):
    """The worker did not take the stream. `status` is for the carrier; `is_away`: there was no worker to ask."""

    def __init__(self, status: int, *, is_away: bool = False) -> None:
        super().__init__(str(status))
        self.status = status
        self.is_away = is_away


class End(Protocol):
    """One end of a leg."""

    async def receive(self) -> Frame:
        """The next frame. Raises `EndClosed`."""

    def listen(self, hear: Callable[[Frame], None]) -> None:
        """Give texts to `hear` as they are read, if nothing before them waits for `receive`. It must not raise."""

    async def send(self, frame: Frame) -> None:
        """Send a frame; waits while the peer does not read. Raises `EndClosed`."""

    def say(self, frame: Frame) -> bool:
        """Send a text at once; False if it has to be sent, or refused, by `send`. Not while a `send` is under way."""

    async def close(self, code: int, reason: str = "") -> None:
        """Close, whatever state it is in. Raises nothing, and takes a second at most."""


def carried_over(code: int) -> int:
    """The close code that tells the other end the same: 1005 → 1000, a lost socket and what may not be sent → 1011."""
    if code == NO_STATUS:
        return CloseCode.NORMAL
    if code in (1000, 1001, 1002, 1003) or 1007 <= code <= 1014 or 3000 <= code < 5000:
        return code
    return CloseCode.INTERNAL


class CarrierEnd:
    """The carrier's stream, accepted."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        state: Mapping[str, Any] = websocket.scope.get("state", {})  # what our server offers beyond ASGI
        self._listen, self._say = state.get("listen"), state.get("say")

    def listen(self, hear: Callable[[Frame], None]) -> None:
        if self._listen is not None:
            self._listen(hear)

    def say(self, frame: Frame) -> bool:
        if self._say is None or not isinstance(frame, str):
            return False
        try:
            return bool(self._say(frame))
        except RuntimeError:  # the socket was cut in this very moment
            return False

    async def receive(self) -> Frame:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            # uvicorn reports a socket lost without a close frame as 1005, too, but then gives no reason
            is_lost = message["code"] == NO_STATUS and "reason" not in message
            raise EndClosed(LOST if is_lost else message["code"], message.get("reason") or "")
        text: str | None = message.get("text")
        return text if text is not None else message["bytes"]

    async def send(self, frame: Frame) -> None:
        try:
            if isinstance(frame, str):
                await self._websocket.send({"type": "websocket.send", "text": frame})
            else:
                await self._websocket.send({"type": "websocket.send", "bytes": frame})
        except (WebSocketDisconnect, RuntimeError):  # RuntimeError: Starlette's word for a stream already closed
            raise EndClosed(LOST) from None

    async def close(self, code: int, reason: str = "") -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                await self._websocket.close(code, reason)


class WorkerConnection(ClientConnection):
    """A client's connection, which gives whole texts to who listens while nothing waits to be received."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.hear: Callable[[Frame], None] | None = None
        self.waiting = 0  # messages that were not received yet

    def process_event(self, event: Event) -> None:
        if isinstance(event, WireFrame) and event.opcode not in CTRL_OPCODES:
            if self.hear is not None and not self.waiting and (text := _whole_text(event)) is not None:
                self.hear(text)
                return
            self.waiting += event.fin
        super().process_event(event)

    def say(self, text: str) -> bool:
        """Send a text at once, unless the peer is slow or the stream is not open."""
        if self.protocol.state is not State.OPEN or self.paused or self.transport.is_closing():
            return False
        self.protocol.send_text(text.encode())
        self.send_data()
        return True


class WorkerEnd:
    """A stream to a worker, accepted by it. Made by `connect_worker`."""

    def __init__(self, connection: WorkerConnection) -> None:
        self._connection = connection

    async def receive(self) -> Frame:
        try:
            frame = await self._connection.recv()
        except ConnectionClosed as closed:
            raise _ended(closed) from None
        self._connection.waiting -= 1
        return frame

    def listen(self, hear: Callable[[Frame], None]) -> None:
        self._connection.hear = hear

    def say(self, frame: Frame) -> bool:
        return isinstance(frame, str) and self._connection.say(frame)

    async def send(self, frame: Frame) -> None:
        try:
            await self._connection.send(frame)
        except ConnectionClosed as closed:
            raise _ended(closed) from None

    async def close(self, code: int, reason: str = "") -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_DEADLINE_S + 1):
                await self._connection.close(code, reason)
        self.abort()

    def abort(self) -> None:
        """Cut the connection, without a word to a peer that listens no more."""
        self._connection.transport.abort()


async def connect_worker(address: str, token: str, headers: Mapping[str, str]) -> WorkerEnd:
    """Bring the stream to the worker at `address`. Raises `WorkerRefused`."""
    try:
        connection = await _open(address, token, headers)
    except InvalidStatus as refusal:
        status = refusal.response.status_code
        raise WorkerRefused(status if 400 <= status < 600 else Refusal.UNAVAILABLE) from None
    except (OSError, ValueError, TimeoutError, InvalidHandshake):
        raise WorkerRefused(Refusal.UNAVAILABLE, is_away=True) from None
    return WorkerEnd(connection)


async def _open(address: str, token: str, headers: Mapping[str, str]) -> WorkerConnection:
    connection = await connect(
        f"ws://{address}/ws/{token}",
        sock=await _connect_tcp(address),
        create_connection=WorkerConnection,
        additional_headers={**headers, PATH_HEADER: RELAYED},
        user_agent_header=None,
        compression=None,
        proxy=None,
        open_timeout=ACCEPT_DEADLINE_S,
        close_timeout=CLOSE_DEADLINE_S,
        ping_interval=WORKER_PING_S,
        ping_timeout=WORKER_PONG_DEADLINE_S,
        max_size=MAX_MESSAGE_BYTES,
        write_limit=WRITE_BUFFER_BYTES,
    )
    assert isinstance(connection, WorkerConnection)
    return connection


async def _connect_tcp(address: str) -> socket.socket:
    """By hand, for a deadline of its own and bounded buffers. The address is IP:port, so nothing is looked up."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    plain = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        plain.setblocking(False)
        bound_stream_socket(plain)
        async with asyncio.timeout(CONNECT_DEADLINE_S):
            await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
    except BaseException:
        plain.close()
        raise
    return plain


def headers_to_pass(headers: Mapping[str, str]) -> dict[str, str]:
    """What the worker shall see of the carrier's upgrade: all but the handshake itself, within bounds."""
    passed = {
        name: value
        for name, value in headers.items()
        if name not in _HANDSHAKE_HEADERS | _OUR_HEADERS
        and not name.startswith(("sec-websocket", "x-sfvopi-"))
        and len(value) <= LONGEST_HEADER
    }
    return dict(list(passed.items())[:MOST_HEADERS])


def _whole_text(frame: WireFrame) -> str | None:
    """The text of a frame that is a message by itself; None: it is another one, or broken."""
    if frame.opcode is not Opcode.TEXT or not frame.fin:
        return None
    try:
        return bytes(frame.data).decode()
    except UnicodeDecodeError:
        return None


def _ended(closed: ConnectionClosed) -> EndClosed:
    return EndClosed(closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else EndClosed(LOST)
