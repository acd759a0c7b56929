"""The public stream endpoint: a token becomes a call, the call a worker, and the stream a leg.

Nothing is accepted before it is settled: the signature is looked at first and costs no registry call, and a worker
that refuses is heard before the carrier is told yes.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from functools import partial

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.admission import end_refused
from gateway.attaching import Attaching, Suspected
from gateway.busy import say_busy
from gateway.director import Director
from gateway.ends import CarrierEnd, WorkerEnd, WorkerRefused, headers_to_pass
from gateway.holding import Holding
from gateway.leg import Leg, LegEnd, Side
from gateway.losses import LostCalls
from gateway.notebook import Notebook
from gateway.prompt import Prompt
from gateway.routing import AnswerHere, Hold, JudgeHere, Refused, Route
from shared.calls.culprit import Judgement
from shared.calls.outcome import Reason
from shared.calls.record import HELD_DETAIL, CallRecord
from shared.calls.state import CallEvent
from shared.calls.timeline import TimelineEvent
from shared.registry import Registry, RegistryAway
from shared.sfvopi.closing import CloseCode, Refusal
from shared.telemetry.catalogue import LEGS, REGISTRY_ERRORS
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from shared.tokens import StreamToken

RETRY_AFTER_S = "1"


class Streams:
    """Serves streams, and holds the legs that are up."""

    def __init__(
        self,
        director: Director,
        registry: Registry,
        notebook: Notebook,
        meter: Meter,
        attaching: Attaching,
        holding: Holding,
        busy_prompt: Prompt,
        lost_calls: LostCalls,
    ) -> None:
        self._director = director
        self._registry = registry
        self._notebook = notebook
        self._meter = meter
        self._busy_prompt = busy_prompt
        self._attaching = attaching
        self._holding = holding
        self._lost_calls = lost_calls
        self._legs: set[Leg] = set()
        self._busy: set[CarrierEnd] = set()
        self._closings: set[asyncio.Task[None]] = set()
        self._taken = 0
        self.idle = asyncio.Event()
        """Set while no stream is up."""
        self.idle.set()
        self._log = get_logger(__name__)

    @property
    def open_legs(self) -> int:
        """Streams that this gateway holds, busy messages included."""
        return len(self._legs) + len(self._busy)

    def cut_all(self, code: int = CloseCode.GOING_AWAY) -> None:
        """End every stream, at once."""
        for leg in self._legs:
            leg.cut(code)
        self._closings |= {asyncio.create_task(carrier.close(code)) for carrier in self._busy}

    def sample(self) -> None:
        """Tell the metrics how many legs are up: the truth, not a count of comings and goings."""
        self._meter.set(LEGS, self.open_legs)
        if self._taken:
            self.idle.clear()
        else:
            self.idle.set()

    async def take(self, websocket: WebSocket) -> None:
        """One stream, from upgrade to close."""
        self._taken += 1  # while it is settled where it goes, nobody may think that nothing is up
        self.sample()
        try:
            await self._take(websocket)
        finally:
            self._taken -= 1
            self.sample()

    async def _take(self, websocket: WebSocket) -> None:
        text = websocket.path_params["token"]
        token, decision = await self._director.direct(text)
        if token:
            self._note_upgrade(websocket, token.call_id)
        match decision:
            case Route() if token:
                await self._relay(websocket, token, text, decision)
            case Hold() if token:
                await self._hold(websocket, token, text, decision)
            case JudgeHere(judgement) if token:
                await self._serve_judged(websocket, self._leg(websocket, token, text), judgement)
            case AnswerHere() if token:
                await self._say_busy(websocket, token)
            case Refused():
                if token and decision.status is Refusal.UNAVAILABLE and await self._serve_here(websocket, token, text):
                    return
                if token:  # a stranger gets no line in the log: there may be any number of them
                    self._log.warning("stream refused", call_id=token.call_id, why=decision.why)
                    self._notebook.write(token.call_id, TimelineEvent.REFUSED_STREAM, why=decision.why)
                    if decision.status is Refusal.UNAVAILABLE:
                        await self._lost_calls.mark(token.call_id, decision.why)
                await deny(websocket, decision.status, decision.why)

    def _note_upgrade(self, websocket: WebSocket, call_id: str) -> None:
        """The carrier's own headers, by name: the worker behind a relay sees only ours."""
        given = websocket.headers.get("x-call-uuid")
        header = "absent" if given is None else "same" if given == call_id else "different"
        names = sorted(set(websocket.headers.keys()))
        self._notebook.write(call_id, TimelineEvent.UPGRADED, headers=names, call_uuid_header=header)

    async def _relay(self, websocket: WebSocket, token: StreamToken, text: str, route: Route) -> None:
        leg = self._leg(websocket, token, text)
        try:
            worker = await self._attaching.attach(leg, route)
        except Suspected as suspected:
            await self._serve_judged(websocket, leg, suspected.judgement)
            return
        except WorkerRefused as refused:
            if refused.status != Refusal.UNAVAILABLE:
                await deny(websocket, refused.status, "the worker did not take the stream")
            elif not await self._serve_here(websocket, token, text):
                await self._lost_calls.mark(token.call_id, "no worker took the stream")
                await deny(websocket, refused.status, "the worker did not take the stream")
            return
        self._notebook.write(token.call_id, TimelineEvent.ROUTED, worker_id=leg.worker_id, path="relayed")
        with self._held(leg):
            await self._run(websocket, leg, worker)

    async def _serve_here(self, websocket: WebSocket, token: StreamToken, text: str) -> bool:
        """Workers have the last word, and all have said no: what the caller's number has for that, if anything."""
        match await self._director.instead(token):
            case Hold(record) if record is None or (record := await self._put_into_line(token)):
                await self._hold(websocket, token, text, Hold(record))
            case AnswerHere():
                await self._say_busy(websocket, token)
            case _:
                return False
        return True

    async def _put_into_line(self, token: StreamToken) -> CallRecord | None:
        """The record of a call that had a slot and waits now; None if it is not ours to move any more."""
        try:
            waits = await self._registry.move(token.call_id, CallEvent.WAIT, {"worker_id": "", "detail": HELD_DETAIL})
            if waits.moved:
                await self._registry.release(token.call_id)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return None
        return waits.record if waits.moved else None

    async def _run(self, websocket: WebSocket, leg: Leg, worker: WorkerEnd) -> None:
        try:
            await websocket.accept()
        except BaseException as error:  # the carrier left while the worker was asked
            await worker.close(CloseCode.GOING_AWAY)
            if not isinstance(error, WebSocketDisconnect | OSError | RuntimeError):
                raise
            return
        await self._see_to_end(leg, await leg.run(CarrierEnd(websocket), worker, self._attaching.attach_again))

    async def _see_to_end(self, leg: Leg, ended: LegEnd) -> None:
        """We closed a stream whose call was not over: unless its carrier comes back, the fleet has lost it."""
        if ended.by is Side.GATEWAY and ended.code in (CloseCode.INTERNAL, CloseCode.GOING_AWAY):
            await self._lost_calls.mark(leg.call_id, ended.reason or "its gateway went away")

    async def _hold(self, websocket: WebSocket, token: StreamToken, text: str, hold: Hold) -> None:
        leg = self._leg(websocket, token, text)
        if await _accept(websocket):
            with self._held(leg):
                ended = await self._holding.run(leg, CarrierEnd(websocket), token, hold.record)
                await self._see_to_end(leg, ended)

    async def _serve_judged(self, websocket: WebSocket, leg: Leg, judgement: Judgement) -> None:
        """A call that may have killed its worker: another one when there is a place for it, or the apology."""
        if await _accept(websocket):
            carrier = CarrierEnd(websocket)
            attach_first = partial(self._attaching.attach_judged, leg, carrier, judgement)
            with self._held(leg):
                await self._see_to_end(leg, await leg.run(carrier, None, self._attaching.attach_again, attach_first))

    def _leg(self, websocket: WebSocket, token: StreamToken, text: str) -> Leg:
        return Leg(token, text, headers_to_pass(websocket.headers), self._meter)

    async def _say_busy(self, websocket: WebSocket, token: StreamToken) -> None:
        if not await _accept(websocket):
            return
        carrier = CarrierEnd(websocket)
        self._busy.add(carrier)
        self.sample()
        try:
            was_heard = await say_busy(carrier, self._busy_prompt.frames(token.format))
        finally:
            self._busy.discard(carrier)
            self.sample()
        self._log.info("busy message", call_id=token.call_id, was_heard=was_heard)
        try:
            await end_refused(self._registry, self._meter, token.call_id, Reason.BUSY_MESSAGE)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)

    @contextlib.contextmanager
    def _held(self, leg: Leg) -> Iterator[None]:
        self._legs.add(leg)
        self.sample()
        try:
            yield
        finally:
            self._legs.discard(leg)
            self.sample()


async def _accept(websocket: WebSocket) -> bool:
    """False: the carrier has left, and there is nobody to hear anything."""
    try:
        await websocket.accept()
    except (WebSocketDisconnect, OSError, RuntimeError):
        return False
    return True


async def deny(websocket: WebSocket, status: int, why: str) -> None:
    """Refuse the upgrade with an HTTP status."""
    headers = {"Retry-After": RETRY_AFTER_S} if status == Refusal.UNAVAILABLE else {}
    with contextlib.suppress(WebSocketDisconnect, OSError):
        await websocket.send_denial_response(JSONResponse({"error": why}, int(status), headers))
