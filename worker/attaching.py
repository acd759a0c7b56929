"""A stream comes: token, room, record, the stream before it; then its socket is pumped until it closes.

The registry's part of it may be away: the token is signed, so the call is taken all the same, and counted.
"""

import asyncio
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.websockets import WebSocket, WebSocketDisconnect

from shared.calls.lost import may_be_lost
from shared.calls.outcome import Reason
from shared.calls.record import CallRecord
from shared.calls.state import CallEvent, CallState
from shared.calls.timeline import TimelineEvent
from shared.fleet.path import PATH_HEADER, RELAYED
from shared.registry.contract import Moved, Registry
from shared.settings import WorkerSettings
from shared.sfvopi.closing import CloseCode, Refusal
from shared.sfvopi.messages import Event, StreamStarted
from shared.telemetry.catalogue import (
    ATTACH_SECONDS,
    STREAMS,
    TOKENS_REFUSED,
    UPGRADE_HEADER_MISMATCH,
)
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from shared.tokens import StreamToken, TokenRejected, verify_token
from worker.admission import FirstStream, StreamRefused, compare_call_header, gives_way, refuse_by_record
from worker.patience import Patience
from worker.session import Session
from worker.sessions import TURN_S, Sessions
from worker.socket import NO_CODE, StreamSocket
from worker.standing import Standing

LOOK_S = 0.05  # between looks at the stream that a second one waits for


class Attaching:
    """Attaches streams to sessions."""

    def __init__(
        self,
        settings: WorkerSettings,
        worker_id: str,
        seat: str,
        registry: Registry,
        sessions: Sessions,
        meter: Meter,
        standing: Standing,
        open_session: Callable[[CallRecord], Session],
        can_run: Callable[[CallRecord], bool],
    ) -> None:
        self._settings = settings
        self._worker_id = worker_id
        self._seat = seat  # this start of this worker
        self._registry = registry
        self._sessions = sessions
        self._meter = meter
        self._standing = standing
        self._open_session = open_session
        self._can_run = can_run
        self._log = get_logger(__name__)

    async def serve(self, websocket: WebSocket, token_text: str) -> None:
        """Serve one WebSocket, from its upgrade to its close. Raises `StreamRefused` before it is accepted."""
        try:
            session, socket = await self._attach(websocket, token_text)
        except StreamRefused as refused:
            self._meter.count(STREAMS, result=refused.result)
            raise
        if socket is not None:
            await self._pump(session, socket)

    # -- before it is accepted

    async def _attach(self, websocket: WebSocket, token_text: str) -> tuple[Session, StreamSocket | None]:
        token = self._verify(token_text)
        # One wait for both, the turn and the stream before: a gateway that hears nothing for longer takes this
        # worker for away, and another one would be given a call that lives here.
        waits_until = time.monotonic() + TURN_S
        if token.call_id not in self._sessions:
            self._refuse_without_room()
        try:
            async with self._sessions.turn(token.call_id):
                return await self._attach_in_turn(websocket, token, waits_until)
        except TimeoutError:
            raise StreamRefused(Refusal.FORBIDDEN, "busy") from None

    async def _attach_in_turn(
        self, websocket: WebSocket, token: StreamToken, waits_until: float
    ) -> tuple[Session, StreamSocket | None]:
        patience = Patience(self._meter)
        record = await self._record_of(token, patience)
        session = self._sessions.get(token.call_id)
        if record is None and session is not None:
            record = session.record  # the registry has lost it; what we hold in memory is the truth
            await patience.or_else(self._registry.restore(record), None)
        is_lost = record is None and await self._is_perhaps_lost(token, patience)
        if is_lost:
            record = self._as_told_by(token, CallState.DETACHED)
        refuse_by_record(record, token.attach_by_ms, self._settings.attach_by_ms, self._registry.now_ms())
        assert record is not None
        if session is None:
            session, result = await self._take_call(token, record, is_lost, patience), "attached"
        else:
            result = await self._take_stream(session, waits_until, patience)
        self._note_upgrade(session, websocket.headers)
        if (result != "attached" or record.attachments) and not session.is_relayed:
            await self._tell_reconnect(patience)
        return session, await self._accept(websocket, session, result)

    async def _tell_reconnect(self, patience: Patience) -> None:
        """The carrier itself came back with a stream: one that we close may be moved from now on."""
        if self._standing.is_reconnect_news:
            await patience.or_else(self._registry.saw_reconnect(), None)

    def _verify(self, token_text: str) -> StreamToken:
        try:
            return verify_token(token_text, self._settings.token_keys, self._registry.now_ms())
        except TokenRejected as rejected:
            self._meter.count(TOKENS_REFUSED, fault=rejected.fault)
            raise StreamRefused(Refusal.BAD_TOKEN, "token") from None

    def _refuse_without_room(self) -> None:
        if self._sessions.is_starting:  # a stream of an earlier process of our name: nothing is ready for it
            raise StreamRefused(Refusal.UNAVAILABLE, "starting")
        if self._sessions.is_draining:
            raise StreamRefused(Refusal.UNAVAILABLE, "draining")
        if self._sessions.is_full:
            raise StreamRefused(Refusal.UNAVAILABLE, "full")

    async def _record_of(self, token: StreamToken, patience: Patience) -> CallRecord | None:
        """The call's record; made from the token when the registry is away."""
        has_ended = self._sessions.has_ended_here(token.call_id)
        unknown = self._as_told_by(token, CallState.ENDED if has_ended else CallState.ACTIVE)
        return await patience.or_else(self._registry.get(token.call_id), unknown)

    def _as_told_by(self, token: StreamToken, state: CallState) -> CallRecord:
        return CallRecord(
            token.call_id,
            state,
            bot=token.bot,
            codec=token.format.codec,
            sample_rate=token.format.sample_rate,
            worker_id=self._worker_id,
        )

    async def _is_perhaps_lost(self, token: StreamToken, patience: Patience) -> bool:
        """Whether a call that nobody knows is to be taken all the same."""
        if self._sessions.has_ended_here(token.call_id):
            return False
        return may_be_lost(
            token.attach_by_ms - self._settings.attach_by_ms,
            token.attach_by_ms,
            self._registry.now_ms(),
            since_ms=await patience.or_else(self._registry.since_ms(), 0),
            window_ms=self._settings.lost_for_ms,
            is_local=token.is_local,
        )

    async def _take_call(self, token: StreamToken, record: CallRecord, is_lost: bool, patience: Patience) -> Session:
        """A call that this worker has not had."""
        self._refuse_without_room()
        if not self._can_run(record):  # placed before we said so, or by a gateway that does not ask
            raise StreamRefused(Refusal.UNAVAILABLE, "bot_failed")
        with self._sessions.place_kept(token.call_id):
            return await self._take_place(token, record, is_lost, patience)

    async def _take_place(self, token: StreamToken, record: CallRecord, is_lost: bool, patience: Patience) -> Session:
        lease_ms = round(self._settings.lease_s * 1000)
        # the format that was promised with this URL: another answer may have written another into the record since
        record = record.with_changes({"codec": token.format.codec, "sample_rate": token.format.sample_rate})
        occupied = self._registry.occupy(token.call_id, self._worker_id, lease_ms)
        if not await patience.or_else(occupied, self._standing.has_room):
            raise StreamRefused(Refusal.UNAVAILABLE, "full")
        if is_lost:
            self._log.warning("a call that the registry has lost is taken", call_id=token.call_id)
            await patience.or_else(self._registry.restore(record), None)
        moved = await self._move_to_active(record, patience)
        if not moved.moved:
            await patience.or_else(self._registry.release(token.call_id), None)
            raise StreamRefused(Refusal.FORBIDDEN, "ended")
        assert moved.record is not None
        session = self._open_session(moved.record)
        session.attached_at_ms = moved.record.epoch or self._registry.now_ms()
        if record.answered_at_ms and record.attachments == 0:
            attach_s = max(0, self._registry.now_ms() - record.answered_at_ms) / 1000
            self._meter.observe(ATTACH_SECONDS, attach_s, call_id=token.call_id)
            session.stream.watch.add_figure(ATTACH_SECONDS.figure, attach_s * 1000)
        return session

    async def _take_stream(self, session: Session, waits_until: float, patience: Patience) -> str:
        """A call that has a session: the stream before this one must be gone, or silent, or this one is refused."""
        while not gives_way(first_stream(session)):
            if time.monotonic() >= waits_until or session.ending is not None:
                session.stream.watch.note(TimelineEvent.REFUSED_STREAM, why="busy")
                raise StreamRefused(Refusal.FORBIDDEN, "busy")
            await asyncio.sleep(LOOK_S)
        if session.ending is not None:
            raise StreamRefused(Refusal.FORBIDDEN, "ended")
        result = "adopted" if session.stream.socket is None else "replaced"
        moved = await self._move_to_active(session.record, patience)
        if not moved.moved:
            raise StreamRefused(Refusal.FORBIDDEN, "ended")
        assert moved.record is not None
        session.attached(moved.record.epoch)
        session.attached_at_ms = moved.record.epoch or self._registry.now_ms()
        return result

    async def _move_to_active(self, record: CallRecord, patience: Patience) -> Moved:
        format = {"codec": record.codec, "sample_rate": record.sample_rate}
        changes = {"worker_id": self._worker_id, "seat": self._seat, **format}
        local = record.with_changes({"state": CallState.ACTIVE, "epoch": 0})
        away = Moved(True, record.state, local)
        return await patience.or_else(self._registry.move(record.call_id, CallEvent.ATTACH, changes), away)

    def _note_upgrade(self, session: Session, headers: Headers) -> None:
        session.is_relayed = headers.get(PATH_HEADER) == RELAYED
        header = compare_call_header(headers.get("x-call-uuid"), session.record.call_id)
        session.stream.watch.note(TimelineEvent.UPGRADED, headers=sorted(set(headers.keys())), call_uuid_header=header)
        if header != "same":
            self._meter.count(UPGRADE_HEADER_MISMATCH, kind=header)
            self._log.info("X-Call-UUID is not the token's call", call_id=session.record.call_id, header=header)

    # -- from its acceptance on

    async def _accept(self, websocket: WebSocket, session: Session, result: str) -> StreamSocket | None:
        """Accept, and make this socket the call's; None if the carrier has gone meanwhile."""
        socket = StreamSocket(websocket, session.record.format, session.stream.watch.dropped)
        try:
            await websocket.accept()
        except (WebSocketDisconnect, RuntimeError, OSError):
            if session.stream.socket is None:
                await self._detached(session, NO_CODE)
            return None
        self._meter.count(STREAMS, result=result)
        watch, epoch = session.stream.watch, session.record.epoch
        event = TimelineEvent.ATTACHED if result == "attached" else TimelineEvent.ADOPTED
        watch.note(event, worker_id=self._worker_id, epoch=epoch, how=result)
        before = session.stream.adopt(socket)
        if session.stream.is_over:  # it ended while this stream was on its way in: nobody else closes this socket
            await socket.close(CloseCode.NORMAL, "the call is over")
        if before is not None:
            await before.close(CloseCode.POLICY, "replaced by a newer stream")
        return socket

    async def _pump(self, session: Session, socket: StreamSocket) -> None:
        stream = session.stream
        deadline = asyncio.get_running_loop().call_later(
            self._settings.start_deadline_s, self._miss_start, session, socket
        )

        def take(event: Event) -> None:
            if isinstance(event, StreamStarted):
                deadline.cancel()
                stream.start(socket, event)
            else:
                stream.take(socket, event)

        try:
            await socket.read(take)
        finally:
            deadline.cancel()
            note_wire(session, socket)
            if stream.lose(socket):
                await asyncio.shield(self._detached(session, socket.close_code or NO_CODE))

    def _miss_start(self, session: Session, socket: StreamSocket) -> None:
        self._meter.count(STREAMS, result="no_start")
        if session.stream.first_started.is_set():
            asyncio.get_running_loop().create_task(socket.close(CloseCode.POLICY, "no start"), name="stream:no_start")
        else:
            session.end(Reason.NO_START, "no start in time")

    async def _detached(self, session: Session, code: int) -> None:
        """The call is without a stream: say so, unless it is ending anyway."""
        if session.ending is not None:
            return
        session.stream.watch.note(TimelineEvent.DETACHED, code=code)
        call_id = session.record.call_id
        detached = self._registry.move(call_id, CallEvent.DETACH, {}, fence=session.fence)
        await Patience(self._meter).or_else(detached, None)


def first_stream(session: Session) -> FirstStream:
    socket = session.stream.socket
    if socket is None:
        return FirstStream(False, 0.0)
    return FirstStream(socket.is_open, time.monotonic() - socket.last_message_at)


def note_wire(session: Session, socket: StreamSocket) -> None:
    """What went over this socket, once, when it is over."""
    session.stream.watch.note(
        TimelineEvent.WIRE,
        received=dict(socket.received),
        sent=dict(socket.sent),
        dropped={str(reason): count for reason, count in socket.dropped.items()},
        bytes_received=socket.bytes_received,
        bytes_sent=socket.bytes_sent,
        longest_gap_ms=round(socket.longest_gap_s * 1000),
        code=socket.close_code,
    )
