"""The public stream endpoint: a token becomes a call, the call a worker, and the stream a leg.

Nothing is accepted before it is settled: the signature is looked at first and costs no registry call, and a worker
that refuses is heard before the carrier is told yes.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.admission import end_refused, own_number
from gateway.attaching import Attaching
from gateway.busy import say_busy
from gateway.ends import CarrierEnd, WorkerEnd, WorkerRefused, headers_to_pass
from gateway.holding import Holding
from gateway.leg import Leg
from gateway.notebook import Notebook
from gateway.prompt import Prompt
from gateway.routing import (
    AnswerHere,
    Decision,
    Hold,
    Refused,
    Route,
    decide,
    decide_without_registry,
    is_for_gateway,
    past,
)
from shared.calls.lost import may_be_lost
from shared.calls.outcome import Reason
from shared.calls.record import HELD_DETAIL, CallRecord
from shared.calls.state import CallEvent, CallState
from shared.calls.timeline import TimelineEvent
from shared.fleet.address import is_worker_address, reachable
from shared.fleet.worker import WorkerView
from shared.registry import Registry, RegistryAway
from shared.settings import GatewaySettings, Numbers
from shared.settings.numbers import Overflow
from shared.sfvopi.closing import CloseCode, Refusal
from shared.telemetry.catalogue import LEGS, REGISTRY_ERRORS, ROUTES, TOKENS_REFUSED, WORKER_ADDRESSES_REFUSED
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from shared.tokens import StreamToken, TokenRejected, verify_token

RETRY_AFTER_S = "1"
TELLING_MS = 500  # a worker tells of its calls with the heartbeat after which they count, one after the other
LOOK_S = 0.1


class Director:
    """Says where a stream goes, for `/route` and for relayed streams. Reads only."""

    def __init__(self, registry: Registry, settings: GatewaySettings, numbers: Numbers, meter: Meter) -> None:
        self._registry = registry
        self._numbers = numbers
        self._settings = settings
        self._secrets = settings.token_keys
        self._meter = meter
        self._networks = settings.own_networks
        self._last_workers: list[WorkerView] = []
        self._outside: frozenset[str] = frozenset()
        self._log = get_logger(__name__)

    @property
    def last_workers(self) -> list[WorkerView]:
        """As last heard of, for when the registry is away; kept fresh by the heartbeat. None of them is outside."""
        return self._last_workers

    @last_workers.setter
    def last_workers(self, heard_of: list[WorkerView]) -> None:
        self._last_workers = reachable(heard_of, self._networks)
        within = {view.record.worker_id for view in self._last_workers}
        outside = frozenset(view.record.worker_id for view in heard_of if view.record.worker_id not in within)
        for worker_id in outside - self._outside:
            self._meter.count(WORKER_ADDRESSES_REFUSED)
            self._log.error("worker is outside SFVOPI_WORKER_NETWORKS: gets no stream", worker_id=worker_id)
        self._outside = outside

    def is_reachable(self, address: str) -> bool:
        """Whether a stream may be brought to this address."""
        return is_worker_address(address, self._networks)

    async def direct(self, text: str, failed_address: str = "") -> tuple[StreamToken | None, Decision]:
        """The token behind the text, if it is good, and what to do with its stream; not to the worker that failed."""
        try:
            token = verify_token(text, self._secrets, self._registry.now_ms())
        except TokenRejected as rejected:
            self._meter.count(TOKENS_REFUSED, fault=rejected.fault)
            self._meter.count(ROUTES, result="token")
            return None, Refused(Refusal.BAD_TOKEN, "token")
        decision = await self._decide(token, failed_address)
        self._meter.count(ROUTES, result=_label(decision))
        return token, decision

    async def instead(self, token: StreamToken) -> Hold | AnswerHere | None:
        """What a new call gets that no worker takes, by its number's policy; None: it is refused.

        One whose reservation was lost with the registry is new, too; its number was lost as well.
        """
        try:
            record = await self._registry.get(token.call_id)
            if record:
                is_new = record.state is CallState.RESERVED
            else:
                is_due = self._registry.now_ms() <= token.attach_by_ms
                is_new = is_due and self._may_be_lost(token, await self._registry.since_ms())
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return None
        plan = self._numbers.plan_for(own_number(record)) if record else self._numbers.default
        if is_new and plan.overflow is Overflow.HOLD:
            return Hold(record)
        return AnswerHere() if is_new and plan.overflow is Overflow.BUSY else None

    async def _decide(self, token: StreamToken, failed_address: str) -> Decision:
        if is_for_gateway(token):
            return decide(token, None, [], self._registry.now_ms())
        try:
            record, is_perhaps_lost = await self._look_up(token)
            workers = await self._registry.workers()
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return decide_without_registry(token, past(failed_address, self.last_workers), self._registry.now_ms())
        self.last_workers = workers or self.last_workers  # a registry that was started empty knows none yet
        if record:
            attach_by_ms = record.attach_by_ms(token.attach_by_ms, self._settings.attach_by_ms)
            token = replace(token, attach_by_ms=attach_by_ms)
        able = past(failed_address, reachable(workers, self._networks))
        return decide(token, record, able, self._registry.now_ms(), is_perhaps_lost=is_perhaps_lost)

    async def _look_up(self, token: StreamToken) -> tuple[CallRecord | None, bool]:
        """The call's record; of an unknown one, whether it may be lost. That is said when workers had time to tell."""
        record = await self._registry.get(token.call_id)
        if record is not None:
            return record, False
        asked_ms, since_ms = self._registry.now_ms(), await self._registry.since_ms()
        if not self._may_be_lost(token, since_ms):
            return None, False
        told_by_ms = (since_ms or asked_ms) + self._settings.settle_ms + TELLING_MS
        while record is None and self._registry.now_ms() < told_by_ms:
            await asyncio.sleep(LOOK_S)
            record = await self._registry.get(token.call_id)
        return record, self._may_be_lost(token, await self._registry.since_ms())

    def _may_be_lost(self, token: StreamToken, since_ms: int) -> bool:
        return may_be_lost(
            token.attach_by_ms - self._settings.attach_by_ms,
            token.attach_by_ms,
            self._registry.now_ms(),
            since_ms=since_ms,
            window_ms=self._settings.lost_for_ms,
            is_local=token.is_local,
        )


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
    ) -> None:
        self._director = director
        self._registry = registry
        self._notebook = notebook
        self._meter = meter
        self._busy_prompt = busy_prompt
        self._attaching = attaching
        self._holding = holding
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
            case AnswerHere() if token:
                await self._say_busy(websocket, token)
            case Refused():
                if token and decision.status is Refusal.UNAVAILABLE and await self._serve_here(websocket, token, text):
                    return
                if token:  # a stranger gets no line in the log: there may be any number of them
                    self._log.warning("stream refused", call_id=token.call_id, why=decision.why)
                    self._notebook.write(token.call_id, TimelineEvent.REFUSED_STREAM, why=decision.why)
                await deny(websocket, decision.status, decision.why)

    def _note_upgrade(self, websocket: WebSocket, call_id: str) -> None:
        """The carrier's own headers, by name: the worker behind a relay sees only ours."""
        given = websocket.headers.get("x-call-uuid")
        header = "absent" if given is None else "same" if given == call_id else "different"
        names = sorted(set(websocket.headers.keys()))
        self._notebook.write(call_id, TimelineEvent.UPGRADED, headers=names, call_uuid_header=header)

    async def _relay(self, websocket: WebSocket, token: StreamToken, text: str, route: Route) -> None:
        leg = Leg(token.call_id, text, headers_to_pass(websocket.headers), self._meter)
        try:
            worker = await self._attaching.attach(leg, route)
        except WorkerRefused as refused:
            if refused.status != Refusal.UNAVAILABLE or not await self._serve_here(websocket, token, text):
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
        await leg.run(CarrierEnd(websocket), worker, self._attaching.attach_again)

    async def _hold(self, websocket: WebSocket, token: StreamToken, text: str, hold: Hold) -> None:
        leg = Leg(token.call_id, text, headers_to_pass(websocket.headers), self._meter)
        try:
            await websocket.accept()
        except (WebSocketDisconnect, OSError, RuntimeError):
            return  # the carrier left
        with self._held(leg):
            await self._holding.run(leg, CarrierEnd(websocket), token, hold.record)

    async def _say_busy(self, websocket: WebSocket, token: StreamToken) -> None:
        try:
            await websocket.accept()
        except (WebSocketDisconnect, OSError, RuntimeError):
            return  # the carrier left: there is nobody to hear it
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


async def deny(websocket: WebSocket, status: int, why: str) -> None:
    """Refuse the upgrade with an HTTP status."""
    headers = {"Retry-After": RETRY_AFTER_S} if status == Refusal.UNAVAILABLE else {}
    with contextlib.suppress(WebSocketDisconnect, OSError):
        await websocket.send_denial_response(JSONResponse({"error": why}, int(status), headers))


def _label(decision: Decision) -> str:
    match decision:
        case Route():
            return "routed"
        case AnswerHere():
            return "busy_message"
        case Hold():
            return "held"
        case Refused():
            return decision.why
