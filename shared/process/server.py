"""An HTTP and WebSocket server in the loop that runs: uvicorn, without its signals, access log and accept lines.

Bounds that hold for every request: a head of at most 16 KiB, which comes in time. For every stream: deflate off,
messages of at most 64 KiB (a longer one closes that stream with 1009), frames read no faster than any call has them,
little kept in the kernel for a peer that does not read, and an end to sockets whose peer is gone.
"""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import apply_mask  # type: ignore[attr-defined]  # in C where there is a compiled one
from websockets.http11 import Request as Upgrade
from websockets.protocol import State

from shared.process.frames import WHOLE_TEXT, bounds, text_frame
from shared.settings import SettingsError

MAX_MESSAGE_BYTES = 64 * 1024
REQUEST_DEADLINE_S = 10.0  # for the head of a request; a connection that brings none is closed
MAX_HEAD_BYTES = 16 * 1024  # of a request
PIECE_BYTES = 4096  # read at a time: of the tiniest frames it takes 10 ms, and then others have their turn
FRAMES_AT_ONCE, FRAMES_PER_S = 1500.0, 400.0  # a call has 50 a second; after a stall of 20 s, 1000 come at once
LONGEST_HOLD_S = 5.0
WRITE_BUFFER_BYTES = 4096  # of a stream, above the kernel's; then whoever writes waits
CLOSE_DEADLINE_S = 5.0  # for the peer's part in closing a stream
CLOSE_GRACE_S = 2  # for open requests and streams when the server stops
PING_S = 10.0
PONG_DEADLINE_S = 20.0  # generous: a peer that stalls for a while is no dead peer


class RequestProtocol(H11Protocol):
    """uvicorn's own has no deadline for a request that never comes: half-open sockets would stay for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        assert isinstance(self.config, _Config)
        if self.config.most_connections is not None and len(self.connections) > self.config.most_connections:
            transport.abort()
            self.config.on_too_many()
            return
        self.loop.call_later(REQUEST_DEADLINE_S, self._look_again, None)

    def data_received(self, data: bytes) -> None:
        """In pieces: h11 bounds the head that has not all come yet, and in one read all of it could."""
        for at in range(0, len(data), PIECE_BYTES):
            now: Any = self.transport.get_protocol()  # another one once this was an upgrade
            if self.transport.is_closing():
                return
            if now is self:
                super().data_received(data[at : at + PIECE_BYTES])
            else:
                now.data_received(data[at:])
                return

    def _look_again(self, seen: object) -> None:
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return  # gone, or a stream by now
        if self.cycle is seen and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()
        else:
            self.loop.call_later(REQUEST_DEADLINE_S, self._look_again, self.cycle)


class StreamProtocol(WebSocketsSansIOProtocol):
    """A stream's socket keeps little for a slow peer: whoever writes notices, and no late audio piles up.

    A flood waits with its sender: frames of any kind, pings and fragments too, are read a piece at a time, and no more
    of them than a call can have. Others on this loop do not notice, and nothing is kept for the flood.
    `scope["state"]["abort"]` cuts it: a closing handshake with a dead peer would wait for ever. Who gives a function to
    `scope["state"]["listen"]` is called with each text as it is read, once what waits for `receive` has been received:
    no queue, no other task, and no pause in the reading of the socket, for each of them. `scope["state"]["say"]` sends
    a text at once, unless the peer is slow or the stream closes. Whole texts, nearly all of the traffic, are read and
    written here; every other frame, and what is out of order, is the business of `websockets`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pieces: deque[bytes] = deque()
        self._budget = FRAMES_AT_ONCE
        self._refilled_at = self.loop.time()
        self._is_held = False
        self._listener: Callable[[str], None] | None = None
        self._hear: Callable[[str], None] | None = None  # the same, when its turn has come
        self._piece = b""  # in work
        self._knows_frames = False  # each piece continues behind `_rest`, which begins with a frame
        self._rest = b""

    def listen(self, listener: Callable[[str], None]) -> None:
        """Give texts to this function, which must not wait and must not raise."""
        self._listener = listener
        if self.queue.empty():
            self._hear = listener

    def say(self, text: str) -> bool:
        """Send a text at once; False if it has to be sent, or refused, by `send`."""
        if self.close_sent or self.disconnected or not self.writable.is_set() or self.conn.state is not State.OPEN:
            return False
        self.transport.write(text_frame(text))
        return True

    def _read_frames(self, data: bytes) -> None:
        """Frame by frame: texts to who listens, all else to the protocol."""
        if self._rest:
            data = self._rest + data
        at, length = 0, len(data)
        while at < length:
            payload, end = bounds(data, at)
            if end > length or not end:
                break
            if end < 0:
                self._knows_frames = False
                super().data_received(data[at:])
                return
            if data[at] != WHOLE_TEXT or not self._hear_text(data, payload, end):
                super().data_received(data[at:end])
                if self.transport.is_closing():
                    return
            at = end
        self._rest = data[at:]

    def _hear_text(self, data: bytes, payload: int, end: int) -> bool:
        """False if it is not for the listener: nobody listens yet, it is out of order, or no text at all."""
        if self._hear is None or self.frames or self.close_sent or self.conn.close_rcvd is not None:
            return False
        if not self.queue.empty():
            return False
        try:
            text = str(apply_mask(data[payload:end], data[payload - 4 : payload]), "utf-8")
        except UnicodeDecodeError:
            return False
        self._budget -= 1
        self._hear(text)
        return True

    def data_received(self, data: bytes) -> None:
        if len(data) <= PIECE_BYTES:
            self._pieces.append(data)
        else:
            self._pieces.extend(data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))
        if not self._is_held:
            self._read_piece()

    def _read_piece(self) -> None:
        was_held, self._is_held = self._is_held, False
        if self.transport.is_closing():
            self._pieces.clear()
            return
        if self._pieces:
            self._piece = self._pieces.popleft()
            if self._knows_frames:
                self._read_frames(self._piece)
            else:
                super().data_received(self._piece)
        if self.conn.handshake_exc is not None and not self.transport.is_closing():
            # too many headers, or too long ones: uvicorn does not ask, and the socket would stay for ever
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()
        wait_s = self._overdrawn_s()
        if self._pieces or wait_s:
            self._is_held = True
            self.transport.pause_reading()
            self.loop.call_later(wait_s, self._read_piece)
        elif was_held and not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _overdrawn_s(self) -> float:
        """How long until this peer may bring more frames."""
        now = self.loop.time()
        budget = self._budget + (now - self._refilled_at) * FRAMES_PER_S
        self._budget = FRAMES_AT_ONCE if budget > FRAMES_AT_ONCE else budget
        self._refilled_at = now
        return 0.0 if budget >= 0 else min(LONGEST_HOLD_S, -budget / FRAMES_PER_S)

    def handle_events(self) -> None:
        self._budget -= len(self.conn.events)
        super().handle_events()

    async def receive(self) -> Any:
        message = await super().receive()
        if self._is_held:
            self.transport.pause_reading()  # the one above has resumed it
        if self.queue.empty():
            self._hear = self._listener
        return message

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.close_timeout = CLOSE_DEADLINE_S
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        bound_stream_socket(self.transport.get_extra_info("socket"))

    def handle_connect(self, event: Upgrade) -> None:
        super().handle_connect(event)
        scope: Any = getattr(self, "scope", None)  # none: it was no proper upgrade, and is answered already
        if scope is not None:
            scope["state"]["abort"] = self.transport.abort
            scope["state"]["listen"] = self.listen
            scope["state"]["say"] = self.say
            # where the request has ended, a frame begins with what comes next
            self._knows_frames = self._piece.endswith(b"\r\n\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._listener = self._hear = None
        scope: Any = getattr(self, "scope", None)
        if scope is not None:
            # these hold the protocol, which holds the scope: who floods with streams would leave them to the collector
            for name in ("listen", "say"):
                scope["state"].pop(name, None)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # a refusal is an answer too; uvicorn would log an error for each

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        # a peer that reads nothing never lets the last bytes out: they go with the socket
        self.loop.call_later(CLOSE_DEADLINE_S + 1, self.transport.abort)


def bound_stream_socket(connection: socket.socket | None) -> None:
    """Keep little unsent in the kernel (some 200 ms of telephone audio), and let a dead peer time out."""
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20_000)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 8 * 1024)


class _Config(uvicorn.Config):
    """uvicorn's, and how many sockets may be open at once; whoever comes then is cut off unread."""

    most_connections: int | None = None
    on_too_many: Callable[[], None] = staticmethod(lambda: None)


class _Quiet(uvicorn.Server):
    """uvicorn's server, which leaves the process' signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """A server that listens. `port` is the one it got; `await stop()` closes it and what is open on it."""

    def __init__(self, server: uvicorn.Server, listener: socket.socket) -> None:
        self._server = server
        self._listener = listener
        self._task: asyncio.Task[None] | None = None
        self.host, self.port = listener.getsockname()[:2]

    async def start(self) -> Self:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]), name=f"server:{self.port}")
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise RuntimeError("the server ended while it started")
            await asyncio.sleep(0.005)
        return self

    @property
    def open_connections(self) -> int:
        """Sockets that are open now, streams included."""
        return len(self._server.server_state.connections)

    @property
    def open_streams(self) -> int:
        """WebSockets that are open now."""
        found = self._server.server_state.connections
        return sum(isinstance(connection, StreamProtocol) and connection.handshake_complete for connection in found)

    def stop_accepting(self) -> None:
        """Take no new connections; those that are open are served on. What waits to be accepted is left waiting."""
        for listening in self._server.servers:
            listening.close()

    async def stop(self) -> None:
        """Stop listening, close what is open (streams with 1012), wait at most `CLOSE_GRACE_S`, then cut."""
        if self._task is not None:
            self._server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError`, such as for a port in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # with the protocol named, or asyncio does not set TCP_NODELAY, and the second of two frames waits 40 ms for an ACK
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # inherited by every accepted socket: what a peer sends while we are late waits with the peer, not here
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def listen_for(setting: str, host: str, port: int) -> socket.socket:
    """A listening socket at what a setting names. Raises `SettingsError` when it cannot be had."""
    try:
        return listen(host, port)
    except OSError as error:
        raise SettingsError(f"{setting}: cannot listen on {host}:{port}: {error.strerror}") from None


async def serve(
    app: ASGIApp,
    host: str = "",
    port: int = 0,
    sock: socket.socket | None = None,
    *,
    ping_s: float = PING_S,
    most_connections: int | None = None,
    on_too_many: Callable[[], None] = lambda: None,
) -> Server:
    """Serve `app` on host:port (0: any free one) or on `sock`, until `stop`. Raises `OSError` if it cannot listen."""
    config = _Config(
        app,
        http=RequestProtocol,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ws=StreamProtocol,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=ping_s,
        ws_ping_timeout=PONG_DEADLINE_S,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=CLOSE_GRACE_S,
    )
    config.most_connections, config.on_too_many = most_connections, on_too_many
    return await Server(_Quiet(config), sock or listen(host, port)).start()
