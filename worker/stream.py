"""A call's stream, which outlives its sockets: the pipeline reads and writes here, whichever socket is the current.

A socket is taken up when it is accepted and counts as attached once its `start` has come. Between two sockets the
stream is detached: what the bot says waits, what the caller says is lost. Knows nothing of Pipecat or the registry.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from shared.sfvopi.errors import DropReason
from shared.sfvopi.formats import AudioFormat
from shared.sfvopi.messages import (
    AudioCleared,
    Checkpoint,
    CheckpointPlayed,
    ClearAudio,
    Command,
    Event,
    MediaReceived,
    StreamStarted,
)
from worker.checkpoint import Checkpoint as Kept
from worker.hearing import Hearing
from worker.observing import CallWatch
from worker.resumption import Keeping
from worker.socket import CLOSE_DEADLINE_S, StreamSocket
from worker.speaker import Speaker

NOT_A_WEBSOCKET = (
    "runner_args.websocket is a call's stream here, which Pipecat's own transport cannot take: in place of "
    "FastAPIWebsocketTransport(…) and its serializer, write SFVoPITransport.for_call(runner_args)"
)
# of a WebSocket; a bot may do without
_LOOKED_UP = {"headers", "query_params", "url", "client", "scope", "client_state", "application_state"}
_USED = {
    *("receive", "receive_text", "receive_bytes", "receive_json", "iter_text", "iter_bytes", "iter_json"),
    *("send_text", "send_bytes", "send_json", "accept"),
}
MAX_WAITING = 250  # events that a busy pipeline may leave unread: five seconds of audio


class CallStream:
    """What a bot gets as its `websocket`."""

    def __init__(
        self,
        call_id: str,
        format: AudioFormat,
        watch: CallWatch,
        *,
        send_lead_s: float = 0.2,
        send_chunk_ms: int = 100,
        hold_s: float = 10,
        clears: int = 0,
        bot: str = "",
    ) -> None:
        self.call_id = call_id
        self.format = format
        self.watch = watch
        self.speaker = Speaker(self, watch, send_lead_s, send_chunk_ms, clears)
        watch.quiet_at, watch.gone_at = lambda: self.speaker.quiet_at, self._gone_at
        self.hearing = Hearing(self.checkpoint, lambda: self.speaker.quiet_at)
        self.hold_s = hold_s  # how long the stream may be detached before the call ends
        self.is_rehearsal = False
        self.remarks: list[str] = []  # on the bot, for its developer
        self.misuse = ""  # of this stream, with which no bot can go on
        self.on_misuse: Callable[[str], object] = lambda sentence: None
        self._call_data: Any = None
        self.was_asked_who_calls = False
        # resumption: what the session before this one left, and what this bot keeps for the next
        self.bot = bot
        self.earlier: Kept | None = None
        self.why_afresh = ""
        self.keeping: Keeping | None = None
        self.may_write: Callable[[], Awaitable[None]] | None = None  # who writes waits for it first
        self.repeats_unheard = True
        self.resume_line = ""
        self.pipeline: Any = None  # Pipecat's PipelineWorker, once the transport knows it
        self.has_pipeline = asyncio.Event()
        self.pipeline_ended = asyncio.Event()  # it says nothing any more: all was said, or it was cancelled
        self.is_left_running = False  # a StopFrame ended it, which leaves the processors as they are
        self.has_said_all = False  # and the caller has heard all that was queued
        self.handles_disconnect: Callable[[], bool] = lambda: False  # whether the bot listens to the caller's leaving
        self.is_hung_up = False  # the caller is gone
        self.is_handed_over = False  # this stream is over, the call goes on in another session
        self.socket: StreamSocket | None = None
        self.stream_id = ""
        self.carrier_call_id = ""
        self.is_over = False
        self._over_at: float | None = None
        self.detached_at: float | None = time.monotonic()
        self.attached_at = time.monotonic()
        self.first_started = asyncio.Event()
        self.has_no_socket = asyncio.Event()
        self.has_no_socket.set()
        self._attached = asyncio.Event()  # or over: nobody waits for ever
        self._waiting: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._is_read = True
        self._hear: Callable[[MediaReceived], None] | None = None

    def __getattr__(self, name: str) -> Any:
        """Somebody takes this for a WebSocket: the bot's developer is told what to write in its place."""
        if name in _USED:
            self.misuse = NOT_A_WEBSOCKET
            self.on_misuse(NOT_A_WEBSOCKET)
            self.has_pipeline.set()  # there will be none: a rehearsal need not wait for it
            raise AttributeError(f"{name}: {NOT_A_WEBSOCKET}")
        if name in _LOOKED_UP:
            raise AttributeError(
                f"runner_args.websocket is a call's stream here and has no {name}; what is known of the call is in "
                "runner_args.body and runner_args.call_data"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def parsed(self, call_data: Any) -> None:
        """What Pipecat's `parse_telephony_websocket` is to return, in place of reading two messages."""
        self._call_data = call_data

    @property
    def _pipecat_parsed_telephony(self) -> tuple[str, Any]:
        """Where `parse_telephony_websocket` looks first."""
        self.was_asked_who_calls = True
        return "sfvopi", self._call_data

    def remark(self, sentence: str) -> None:
        """Something that the bot's developer should know, once."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)

    # -- the sockets' side

    @property
    def is_attached(self) -> bool:
        return self.socket is not None and self.socket.started is not None

    def adopt(self, socket: StreamSocket) -> StreamSocket | None:
        """This socket is the current one from now on; returns the one before, if it is still there."""
        before, self.socket = self.socket, socket
        self.has_no_socket.clear()
        self._attached.clear()
        self.detached_at = None
        if before is not None:
            self.speaker.forget_unplayed()
        return before

    def start(self, socket: StreamSocket, start: StreamStarted) -> None:
        """`start` has come on this socket, for the first time or again."""
        if socket is not self.socket:
            return
        self.stream_id, self.carrier_call_id = start.stream_id, start.call_id
        self.watch.stream_started(start.stream_id)
        self.attached_at = time.monotonic()
        self._attached.set()
        self.first_started.set()

    def take(self, socket: StreamSocket, event: Event) -> None:
        """Something else has come on this socket."""
        if socket is not self.socket:
            return
        if isinstance(event, AudioCleared):
            self.watch.clear_acknowledged(event.sequence_number)
        elif isinstance(event, CheckpointPlayed):
            if self.hearing.played(event.name):
                self.watch.conversation_changed.set()
                return
            self.watch.checkpoint_played(event.name)
            if self.speaker.checkpoint_played(event.name):
                return
        if not self._is_read or self.is_over:
            return
        if self._hear is not None and isinstance(event, MediaReceived):
            self._hear(event)
            return
        if len(self._waiting) >= MAX_WAITING:
            self._make_room()
        self._waiting.append(event)
        self._arrived.set()

    def _make_room(self) -> None:
        """Late audio is worth less than new audio; everything else stays."""
        for i, event in enumerate(self._waiting):
            if isinstance(event, MediaReceived):
                del self._waiting[i]
                break
        else:
            self._waiting.popleft()
        self.watch.dropped(DropReason.FLOOD)

    def lose(self, socket: StreamSocket) -> bool:
        """This socket has ended. Whether it was the current one, so that the call is without a stream now."""
        if socket is not self.socket:
            return False
        self.socket = None
        self.has_no_socket.set()
        self.detached_at = time.monotonic()
        if not self.is_over:
            self._attached.clear()
        self.speaker.forget_unplayed()
        return True

    def _gone_at(self) -> float | None:
        """Since when the caller hears nothing: they are gone, or the stream is over."""
        return self.detached_at if self.detached_at is not None else self._over_at

    def end(self) -> None:
        """No more of anything: whoever reads or writes is let go."""
        self.is_over = True
        self._over_at = self._over_at or time.monotonic()
        self._attached.set()
        self._arrived.set()

    # -- the pipeline's side

    async def events(self, hear: Callable[[MediaReceived], None] | None = None) -> AsyncIterator[Event]:
        """What the carrier sends, over all sockets, until the stream is over.

        `hear`, which must not wait, is given the audio as it comes; here comes what was there before, and the rest.
        """
        self._is_read = True
        try:
            while True:
                while self._waiting:
                    yield self._waiting.popleft()
                self._hear = hear
                if self.is_over:
                    return
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self._is_read, self._hear = False, None
            self._waiting.clear()

    def show_pipeline(self, pipeline: Any) -> None:
        """The transport was set up: this is the pipeline that it stands in."""
        self.pipeline = pipeline
        self.has_pipeline.set()

    async def attached(self) -> bool:
        """Wait until there is a stream to write to; False when there will be none any more."""
        await self._attached.wait()
        return not self.is_over

    async def send(self, command: Command) -> bool:
        """Send now; False if there is no stream, or it took nothing before the deadline."""
        if self.may_write is not None:
            await self.may_write()
        socket = self.socket
        if socket is None or socket.started is None:
            return False
        return await socket.send(command)

    async def clear(self, sequence_number: int) -> bool:
        return await self.send(ClearAudio(self.stream_id, sequence_number))

    async def checkpoint(self, name: str) -> bool:
        return await self.send(Checkpoint(self.stream_id, name))

    # -- what the caller hears of the bot, for the session that may come after this one

    async def sentence_begun(self, text: str) -> None:
        """The bot is about to say this; all before it has been sent."""
        if self.keeping is not None:
            await self.hearing.ended()
            self.hearing.begun(text)
            self.watch.conversation_changed.set()

    async def sentence_ended(self) -> None:
        """The bot is silent."""
        if self.keeping is not None:
            await self.hearing.ended()
            self.watch.conversation_changed.set()

    def sentences_interrupted(self) -> None:
        """The caller spoke into it."""
        self.hearing.interrupted()
        self.watch.conversation_changed.set()

    async def close(self, code: int, reason: str = "") -> None:
        """End the stream and close what is open of it. Its reader has seen the end of it when this returns."""
        self.end()
        if self.socket is not None:
            await self.socket.close(code, reason)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_DEADLINE_S):
                    await self.has_no_socket.wait()
