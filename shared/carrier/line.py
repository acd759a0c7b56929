"""The carrier's end of a call's WebSocket: connects, says `start`, reads, and connects again when the socket drops.

Knows sockets and the rules of reconnection; what the messages mean is the business of the call.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException

from shared.carrier.asking import AGENT
from shared.carrier.dialects import Messages, speak_dialect
from shared.carrier.events import EventKind
from shared.carrier.plan import CallPlan, Frame
from shared.carrier.report import redact_url
from shared.networks import is_loopback
from shared.sfvopi.answer import StreamAnswer

BUFFER_BYTES = 64 * 1024  # about 3 s of A-law: a server that is so far behind does not read
NEVER_PAUSE_BYTES = 1 << 26  # sending never waits for the server; a carrier does not hold its caller back either
OUR_CLOSE = frozenset({1000, 1005})  # 1005: a close frame without a code
CLOSE_LIMIT_S = 2.0


class NotConnected(Exception):
    """The WebSocket could not be opened; `status` is the HTTP status of a refusal."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class LineEnd:
    """Why there is no stream any more: `by` bot or network."""

    by: str
    code: int
    reason: str = ""


class Line:
    """One call's stream, over as many sockets as it takes. `on_frame` returns what is to be sent in reply at once."""

    def __init__(
        self,
        plan: CallPlan,
        answer: StreamAnswer,
        call_id: str,
        new_stream_id: Callable[[], str],
        on_frame: Callable[[str | bytes], Iterable[str]],
        tell: Callable[..., None],
    ) -> None:
        self.stream_ids: list[str] = []
        self.reconnects = 0
        self.end: LineEnd | None = None
        self.faults: list[str] = []
        self.messages: Messages
        self.started_at = 0.0  # of the first `start`, by the event loop's clock
        self._plan = plan
        self._knobs = plan.knobs
        self._answer = answer
        self._call_id = call_id
        self._new_stream_id = new_stream_id
        self._on_frame = on_frame
        self._tell = tell
        self._attempts_left = plan.knobs.reconnects
        self._socket: ClientConnection | None = None
        self._abandoned: list[ClientConnection] = []
        self._reader: asyncio.Task[None] | None = None
        self._is_hanging_up = False

    @property
    def stream_id(self) -> str:
        return self.stream_ids[-1] if self.stream_ids else ""

    # -- what the call does --

    async def open(self) -> None:
        """Connect for the first time. Raises `NotConnected`."""
        await self._connect()
        self._reader = asyncio.create_task(self._read_on(), name="carrier line")

    async def send(self, text: str | bytes) -> bool:
        """Send a frame; False: it is lost, for no socket is up or the server does not read."""
        socket = self._socket
        if socket is None or socket.transport.get_write_buffer_size() > BUFFER_BYTES:
            return False
        try:
            await socket.send(text)
        except ConnectionClosed:
            return False
        return True

    def drop(self) -> None:
        """The network breaks, as the knobs say."""
        socket = self._socket
        if socket is None:
            return
        if self._knobs.drop_how == "abort":
            socket.transport.abort()
            return
        self._abandon(socket)
        if self._reader:
            self._reader.cancel()
        self._reader = asyncio.create_task(self._read_on(is_dropped=True), name="carrier line")

    async def hang_up(self) -> int | None:
        """End the stream as the knobs say; returns the close code, None if no socket was up."""
        socket, how = self._socket, self._knobs.close_how
        if socket is None:
            return None
        self._is_hanging_up = True
        if how == "leave_open":
            socket.transport.pause_reading()
            await asyncio.sleep(self._knobs.leave_open_s)
        if how == "close":
            with contextlib.suppress(WebSocketException):
                await socket.close(self._knobs.close_code)
        else:
            socket.transport.abort()
        return socket.close_code if how == "close" else 1006

    async def shut(self) -> None:
        """Leave nothing behind, whatever state the line is in."""
        if self._reader:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        for socket in (*self._abandoned, *([self._socket] if self._socket else [])):
            socket.transport.abort()
            await socket.wait_closed()

    # -- sockets --

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        socket = await self._open_socket()
        if not self.stream_ids or self._knobs.new_stream_id:
            self.stream_ids.append(self._new_stream_id())
        self.messages = speak_dialect(self._plan.dialect, self.stream_id, self._call_id, self._answer.format)
        ms = round((loop.time() - asked_at) * 1000, 1)
        self._tell(EventKind.CONNECTED, ms=ms, url=redact_url(self._answer.url), attempt=self.reconnects + 1)
        opening = [self.make(raw.frame) for raw in self._knobs.raw_frames if raw.at_s < 0 and not self.started_at]
        with contextlib.suppress(ConnectionClosed):  # the reader will find out
            for frame in (*opening, *[self.messages.start()] * self._knobs.starts):
                await socket.send(frame)
        self.started_at = self.started_at or loop.time()
        self._socket = socket
        self._tell(EventKind.STREAM_STARTED, stream_id=self.stream_id)

    async def _open_socket(self) -> ClientConnection:
        url = self._answer.url
        try:
            return await connect(
                url,
                additional_headers=dict(self._answer.extra_headers),
                user_agent_header=AGENT,
                compression=None,
                proxy=None if is_loopback(urlsplit(url).hostname) else True,
                open_timeout=self._knobs.connect_limit_s,
                ping_interval=None,  # nobody knows whether the carrier pings
                close_timeout=CLOSE_LIMIT_S,
                write_limit=NEVER_PAUSE_BYTES,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            raise NotConnected(f"the stream was refused: HTTP {status}", status) from None
        except TimeoutError:
            raise NotConnected(f"the stream was not open within {self._knobs.connect_limit_s:g} s") from None
        except (OSError, InvalidHandshake, InvalidURI, WebSocketException, ValueError) as error:
            raise NotConnected(f"the stream was not reached ({type(error).__name__})") from None

    def make(self, frame: Frame) -> str | bytes:
        """A raw frame of the knobs, for the stream as it is now."""
        return frame(self.stream_id) if callable(frame) else frame

    def _abandon(self, socket: ClientConnection) -> None:
        socket.transport.pause_reading()  # not even a ping is answered
        self._abandoned.append(socket)
        self._socket = None

    async def _read_on(self, *, is_dropped: bool = False) -> None:
        """Read socket after socket, until the stream is over."""
        over = LineEnd("network", 1006) if is_dropped else await self._read()
        while self._is_drop(over) and await self._reconnect(over):
            over = await self._read()
        self.end = over

    async def _read(self) -> LineEnd:
        socket = self._socket
        assert socket is not None
        try:
            while True:
                frame = await socket.recv()
                await asyncio.sleep(self._held_back_s())
                for reply in self._on_frame(frame):
                    await self.send(reply)
        except ConnectionClosed as closed:
            self._socket = None
            if closed.rcvd is None:
                if closed.sent is not None and not self._is_hanging_up:
                    self.faults.append(f"the server breaks the rules of WebSocket: {closed.sent}")
                return LineEnd("network", 1006)
            return LineEnd("bot", closed.rcvd.code, closed.rcvd.reason)

    def _held_back_s(self) -> float:
        """How long the next frame stays unread, and all behind it."""
        stall, now = self._knobs.reads_nothing, asyncio.get_running_loop().time() - self.started_at
        return stall.at_s + stall.for_s - now if stall and stall.at_s <= now < stall.at_s + stall.for_s else 0.0

    def _is_drop(self, over: LineEnd) -> bool:
        if self._is_hanging_up:  # it is over: a server may answer our close by cutting TCP
            return False
        is_asked = over.by == "bot" and over.code in OUR_CLOSE
        return not is_asked or self._knobs.on_our_close == "reconnect"

    async def _reconnect(self, over: LineEnd) -> bool:
        self._tell(EventKind.SOCKET_DROPPED, code=over.code, reason=over.reason)
        while self._attempts_left > 0:
            self._attempts_left -= 1
            await asyncio.sleep(self._knobs.reconnect_after_s)
            try:
                await self._connect()
            except NotConnected as error:
                self._tell(EventKind.CONNECT_FAILED, why=str(error), status=error.status)
                self.faults.append(f"reconnection: {error}")
            else:
                self.reconnects += 1
                return True
        return False
