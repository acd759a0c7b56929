"""One WebSocket of a call: its messages in, its messages out, each write with a deadline.

Knows the wire, and nothing of the call beyond this one connection. A peer that reads nothing is cut off: a
write to it must never hold up a clearAudio or an end.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from shared.sfvopi.errors import DropReason
from shared.sfvopi.formats import AudioFormat
from shared.sfvopi.messages import Command, Event, StreamStarted
from shared.sfvopi.reader import EventReader
from shared.sfvopi.render import render_command

WRITE_DEADLINE_S = 2.0  # a peer that takes nothing for so long is gone
CLOSE_DEADLINE_S = 0.5
NO_CODE = 1006  # the connection ended without a close frame


class StreamSocket:
    """A WebSocket of the carrier, accepted or about to be."""

    def __init__(
        self, websocket: WebSocket, format: AudioFormat, on_drop: Callable[[DropReason], None] | None = None
    ) -> None:
        self.received: Counter[str] = Counter()  # messages, by their names on the wire
        self.sent: Counter[str] = Counter()
        self.bytes_received = 0
        self.bytes_sent = 0
        self.started: StreamStarted | None = None
        self.last_message_at = time.monotonic()
        self.longest_gap_s = 0.0  # between messages of the carrier
        self.close_code: int | None = None  # of the carrier, or ours if we closed first
        self._websocket = websocket
        self._format = format
        self._reader = EventReader(format, on_drop=on_drop)
        self._closing = False

    @property
    def is_open(self) -> bool:
        return not self._closing and self.close_code is None

    @property
    def dropped(self) -> Counter[DropReason]:
        """Messages of the peer that could not be used, by reason."""
        return self._reader.dropped

    async def read(self, take: Callable[[Event], None]) -> None:
        """Give what the carrier sends to `take`, until the connection ends. Never raises for anything that it sends."""

        def hear(frame: str | bytes) -> None:
            event = self._read(frame)
            if event is not None:
                take(event)

        listen = self._websocket.scope.get("state", {}).get("listen")
        if listen is not None:
            listen(hear)
        while self.close_code is None:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self.close_code = message.get("code") or NO_CODE
                return
            hear(message.get("text") or message.get("bytes") or "")

    def _read(self, frame: str | bytes) -> Event | None:
        now = time.monotonic()
        gap_s = now - self.last_message_at
        if gap_s > self.longest_gap_s:
            self.longest_gap_s = gap_s
        self.last_message_at = now
        self.bytes_received += len(frame)
        event = self._reader.read(frame, now)
        if event is not None:
            self.received[event.wire_name] += 1
            if isinstance(event, StreamStarted):
                self.started = event
        return event

    async def send(self, command: Command) -> bool:
        """Whether the peer's side of the socket took it."""
        if not self.is_open:
            return False
        text = render_command(command)
        say = self._websocket.scope.get("state", {}).get("say")
        try:
            if say is None or not say(text):  # a slow peer, or no server of ours
                async with asyncio.timeout(WRITE_DEADLINE_S):
                    await self._websocket.send_text(text)
        except TimeoutError:
            self.abort()
            return False
        except (WebSocketDisconnect, RuntimeError, OSError):
            return False  # it ended meanwhile: `read` says so
        self.sent[command.wire_name] += 1
        self.bytes_sent += len(text)
        return True

    async def close(self, code: int, reason: str = "") -> None:
        """Say goodbye and close; never takes longer than the deadline."""
        if not self.is_open or self._websocket.application_state is not WebSocketState.CONNECTED:
            return
        self._closing = True
        try:
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                await self._websocket.close(code, reason)
        except TimeoutError:
            self.abort()
        except (WebSocketDisconnect, RuntimeError, OSError):
            pass  # the peer was first

    def abort(self) -> None:
        """Drop the connection without a word, with what it had still to send."""
        self._closing = True
        cut = self._websocket.scope.get("state", {}).get("abort")
        if cut is not None:
            cut()
