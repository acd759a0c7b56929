"""A leg: the gateway's end of a relayed stream. It owns the carrier's socket and is attached to a worker.

Theory of operation. Each direction is a lane between two tasks: one reads, one writes. What an end hears it puts into
the lane there and then, and an empty lane gives it to the other end there and then: the tasks wake only for what is not
that simple. The leg is over when either end is; what is in the lane still goes out, then the other end is closed with
the same code.

A worker that dies ends no call: it is cut off, another one is attached, is shown the carrier's `start`, and the two
go on. How often that may happen is not decided here: whoever attaches again looks at the call's whole past. The
carrier's frames are read all the while, so its lane outlives workers; a worker's own lane dies with it, and so nothing
that an old one still says is heard behind a new one.

A leg may begin without a worker: its caller is held. Until there is one, only the carrier's `start` is kept.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from gateway.ends import LOST, End, EndClosed, WorkerEnd, carried_over, connect_worker
from gateway.lane import Frame, Lane, LaneOverflow, is_start
from gateway.routing import Route
from shared.sfvopi.closing import CloseCode
from shared.telemetry.catalogue import LEG_FRAMES_DROPPED
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from shared.tokens import StreamToken

T = TypeVar("T")

FLUSH_DEADLINE_S = 1.0
STEADY_S = 5.0  # a worker that keeps a stream for so long has taken it
# how a worker ends that did not mean to end the call: going away, lost, failing, restarting
WORKER_LOST = frozenset({CloseCode.GOING_AWAY, LOST, CloseCode.INTERNAL, CloseCode.RESTART})


class Side(StrEnum):
    """Who ended a leg."""

    CARRIER = "carrier"
    WORKER = "worker"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class LegEnd:
    """How a leg ended: who, and with which close code."""

    by: Side
    code: int
    reason: str = ""

    @property
    def is_worker_lost(self) -> bool:
        return self.by is Side.WORKER and self.code in WORKER_LOST


Attachment = Coroutine[Any, Any, WorkerEnd | LegEnd]
"""A stream to a worker, or how the leg shall end."""
AttachAgain = Callable[["Leg", End, LegEnd], Attachment]
"""Of this leg, whose carrier is there, after its worker ended like this."""


class Leg:
    """One relayed stream."""

    def __init__(self, token: StreamToken, text: str, headers: Mapping[str, str], meter: Meter) -> None:
        """`text`: the token as it is signed."""
        self.call_id = token.call_id
        self.bot = token.bot  # empty: not known
        self.format = token.format
        self.worker_id = ""  # where it is attached, or was last
        self.outlived: tuple[str, ...] = ()  # workers that have died of the call, as far as it is known here
        self._token = text
        self._headers = headers
        self._meter = meter
        self.start: Frame | None = None  # the carrier's last
        self.has_begun = asyncio.Event()  # the carrier has sent something
        self._is_held = False
        self._homeless_since: float | None = None  # when it was lost by a worker, if none has taken it since
        self._cut: asyncio.Future[LegEnd] = asyncio.get_running_loop().create_future()
        self._now = asyncio.get_running_loop().time
        self._log = get_logger(__name__).bind(call_id=self.call_id)

    @property
    def homeless_s(self) -> float:
        """For how long the call has had no worker, or only such as dropped it at once."""
        return 0.0 if self._homeless_since is None else self._now() - self._homeless_since

    async def attach(self, route: Route) -> WorkerEnd:
        """A stream to the worker. Raises `WorkerRefused`. The carrier is told only when this is settled."""
        worker = await connect_worker(route.address, self._token, self._headers)
        self.worker_id = route.worker_id
        return worker

    @property
    def is_cut(self) -> bool:
        return self._cut.done()

    def cut(self, code: int, reason: str = "") -> None:
        """End the leg from outside, at once."""
        if not self._cut.done():
            self._cut.set_result(LegEnd(Side.GATEWAY, code, reason))

    async def run(
        self,
        carrier: End,
        worker: WorkerEnd | None,
        attach_again: AttachAgain,
        attach_first: Callable[[], Attachment] | None = None,
    ) -> LegEnd:
        """Copy frames both ways until the call is over, at however many workers; then both ends are closed.

        Without a `worker`, the caller is held until `attach_first` has one.
        """
        to_worker = self._lane("to_worker")
        self._is_held = worker is None
        hearing = self._task("from_carrier", self._read(carrier, to_worker, Side.CARRIER, self._hear))
        ended = LegEnd(Side.GATEWAY, CloseCode.GOING_AWAY)
        try:
            last: Frame | None = None
            if worker is None and attach_first is not None:
                found = await self._find(attach_first(), hearing)
                if isinstance(found, LegEnd):
                    ended = found
                else:
                    worker, last = found, self.start
                self._is_held = False
            while worker is not None:
                attached_at = self._now()
                ended = await self._relay(hearing, carrier, to_worker, worker, last)
                if not ended.is_worker_lost:
                    break
                if self._homeless_since is None or self._now() - attached_at >= STEADY_S:
                    self._homeless_since = self._now()
                worker.abort()
                to_worker.hold()
                found = await self._find(attach_again(self, carrier, ended), hearing)
                if isinstance(found, LegEnd):
                    ended = found
                    break
                worker, last = found, self.start
                ended = LegEnd(Side.GATEWAY, CloseCode.GOING_AWAY)
                to_worker.go_on(self._now())
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            await asyncio.shield(self._close(ended, carrier, worker))
        self._log.info("leg ended", by=ended.by, code=ended.code)
        return ended

    async def _find(self, attachment: Attachment, hearing: "asyncio.Task[LegEnd]") -> WorkerEnd | LegEnd:
        """A worker, unless the carrier leaves, or we are cut, before there is one."""
        attaching = self._task("attach", attachment)
        anything: list[asyncio.Future[Any]] = [attaching, hearing, self._cut]
        try:
            await asyncio.wait(anything, return_when=asyncio.FIRST_COMPLETED)
            if attaching.done():
                return attaching.result()
            return self._cut.result() if self._cut.done() else hearing.result()
        finally:
            attaching.cancel()
            await asyncio.gather(attaching, return_exceptions=True)

    async def _relay(
        self, hearing: "asyncio.Task[LegEnd]", carrier: End, to_worker: Lane, worker: End, first: Frame | None
    ) -> LegEnd:
        """Until either end is over; the carrier is read on. `first` goes to the worker before all else."""
        to_carrier = self._lane("to_carrier")
        speaking = self._task("from_worker", self._read(worker, to_carrier, Side.WORKER))
        readers = [hearing, speaking]
        writers = {  # by the side whose frames they send on
            Side.CARRIER: self._task("of_carrier", _write(to_worker, worker, first)),
            Side.WORKER: self._task("of_worker", _write(to_carrier, carrier)),
        }
        try:
            endings: list[asyncio.Future[LegEnd]] = [*readers, self._cut]
            anything: list[asyncio.Future[Any]] = [*endings, *writers.values()]
            await asyncio.wait(anything, return_when=asyncio.FIRST_COMPLETED)
            if not any(ending.done() for ending in endings):
                # an end takes no frames any more; it should say in a moment that it is over
                await asyncio.wait(endings, timeout=FLUSH_DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
            ended = self._how_it_ended(readers, writers)
            if ended.by in writers:  # what was said before the end is still heard
                await asyncio.wait([writers[ended.by]], timeout=FLUSH_DEADLINE_S)
            return ended
        finally:
            tasks = [speaking, *writers.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _how_it_ended(self, readers: list[asyncio.Task[LegEnd]], writers: dict[Side, asyncio.Task[None]]) -> LegEnd:
        if self._cut.done():
            return self._cut.result()
        for reader in readers:
            if reader.done():
                return reader.result()
        return LegEnd(Side.WORKER if writers[Side.CARRIER].done() else Side.CARRIER, LOST)

    async def _close(self, ended: LegEnd, carrier: End, worker: End | None) -> None:
        code = carried_over(ended.code)
        if worker is None:
            await carrier.close(code, ended.reason)
        elif ended.by is Side.CARRIER:
            # its own stream is over; closing it as well only tidies up
            await asyncio.gather(worker.close(code, ended.reason), carrier.close(code))
        else:
            await asyncio.gather(carrier.close(code, ended.reason), worker.close(code))

    def _lane(self, direction: str) -> Lane:
        def dropped(frames: int) -> None:
            self._meter.count(LEG_FRAMES_DROPPED, frames, direction=direction)

        return Lane(dropped, self._now)

    def _hear(self, frame: Frame) -> bool:
        """Whether a worker shall have this frame."""
        if is_start(frame):
            self.start = frame
        self.has_begun.set()
        return not self._is_held

    async def _read(
        self, source: End, lane: Lane, side: Side, takes: Callable[[Frame], bool] = lambda _: True
    ) -> LegEnd:
        """Put what an end says into its lane, until it is over."""

        def hear(frame: Frame) -> None:
            try:
                if takes(frame):
                    lane.put(frame, self._now())
            except LaneOverflow:
                self.cut(CloseCode.INTERNAL, "the other side takes no frames")

        source.listen(hear)
        try:
            while True:
                hear(await source.receive())
        except EndClosed as closed:
            return LegEnd(side, closed.code, closed.reason)
        finally:
            lane.finish()

    def _task(self, name: str, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        return asyncio.create_task(work, name=f"leg:{self.call_id}:{name}")


async def _write(lane: Lane, target: End, first: Frame | None = None) -> None:
    try:
        if first is not None:
            await target.send(first)
        while (frame := await lane.next(target.say)) is not None:
            await target.send(frame)
    except EndClosed:
        return  # its reader knows, and says how
