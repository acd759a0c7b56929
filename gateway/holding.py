"""A caller is held: he hears music until it is his turn, and his stream is a leg to a worker from then on.

The leg listens to the carrier all the while and keeps its `start`; nothing that is said to the music reaches the
bot. Whoever waits for too long hears the busy message.
"""

import asyncio
from functools import partial

from gateway.admission import end_refused
from gateway.attaching import Attaching, Suspected
from gateway.busy import speak
from gateway.ends import End, WorkerEnd, WorkerRefused
from gateway.leg import Leg, LegEnd, Side
from gateway.line import Caller, Gone, Line
from gateway.music import Music, clear
from gateway.notebook import Notebook
from gateway.prompt import Prompt
from shared.calls.outcome import Reason
from shared.calls.record import CallRecord
from shared.calls.timeline import TimelineEvent
from shared.registry import Registry, RegistryAway
from shared.sfvopi.closing import CloseCode, Refusal
from shared.sfvopi.formats import AudioFormat
from shared.telemetry.catalogue import HOLD_SECONDS, REGISTRY_ERRORS
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from shared.tokens import StreamToken


class Holding:
    """Holds the streams of those who wait in line."""

    def __init__(
        self,
        line: Line,
        attaching: Attaching,
        registry: Registry,
        notebook: Notebook,
        meter: Meter,
        music: Music,
        busy_prompt: Prompt,
    ) -> None:
        self._line = line
        self._attaching = attaching
        self._registry = registry
        self._notebook = notebook
        self._meter = meter
        self._music = music
        self._busy_prompt = busy_prompt
        self._log = get_logger(__name__)

    async def run(self, leg: Leg, carrier: End, token: StreamToken, record: CallRecord | None) -> LegEnd:
        """The leg, from its acceptance to its end."""
        caller = Caller(token, record, self._registry.now_ms())
        attach_first = partial(self._attach_in_turn, leg, carrier, caller)
        return await leg.run(carrier, None, self._attaching.attach_again, attach_first)

    async def _attach_in_turn(self, leg: Leg, carrier: End, caller: Caller) -> WorkerEnd | LegEnd:
        """When it is the caller's turn, a stream to the worker; or how the leg shall end."""
        began_at, result = asyncio.get_running_loop().time(), "left"
        format = caller.token.format
        try:
            with self._line.waiting(caller):
                async with self._music.playing(leg, carrier, format):
                    found = await self._wait(leg, caller)
            match found:
                case Suspected():
                    result = "judged"
                    return await self._attaching.attach_judged(leg, carrier, found.judgement)
                case Gone():
                    result = "ended"
                    return _ended_elsewhere(found)
                case None:
                    result = "busy_message"
                    return await self._say_busy(leg, carrier, caller)
                case worker:
                    result = "attached"
                    await self._hand_over(leg, carrier, worker, format)
                    return worker
        except asyncio.CancelledError:
            if leg.is_cut:
                result = "cut"
            else:
                self._line.left(caller.call_id)
            raise
        finally:
            held_s = asyncio.get_running_loop().time() - began_at
            self._meter.observe(HOLD_SECONDS, held_s, call_id=caller.call_id, result=result)
            self._notebook.figures(caller.call_id, **{HOLD_SECONDS.figure: round(held_s, 3)})
            self._log.info("held", call_id=caller.call_id, result=result, held_s=round(held_s, 1))

    async def _wait(self, leg: Leg, caller: Caller) -> WorkerEnd | Gone | Suspected | None:
        """A stream to the worker whose slot is the caller's, or why he waits no longer; None: he waited in vain."""
        while (left_s := self._left_s(caller)) > 0:
            await asyncio.wait([caller.turn], timeout=min(left_s, self._line.beat_s))
            self._note_place(caller)
            if not caller.turn.done():
                continue
            turn = caller.turn.result()
            if turn is Gone.HOPELESS:
                return None
            if isinstance(turn, Gone):
                return turn
            try:
                return await self._attaching.attach(leg, turn)
            except Suspected as suspected:  # he has had his worker already
                return suspected
            except WorkerRefused as refused:
                if refused.status in (Refusal.FORBIDDEN, Refusal.UNKNOWN):
                    return Gone.ENDED
            await asyncio.sleep(self._line.beat_s)  # the slot is still his, or he gets another, as the first in line
            self._line.wait_again(caller)
        return None

    def _left_s(self, caller: Caller) -> float:
        return self._line.longest_wait_s(caller) - (self._registry.now_ms() - caller.since_ms) / 1000

    def _note_place(self, caller: Caller) -> None:
        if caller.place and not caller.is_noted:
            caller.is_noted = True
            self._notebook.write(caller.call_id, TimelineEvent.HELD, place=caller.place)

    async def _hand_over(self, leg: Leg, carrier: End, worker: WorkerEnd, format: AudioFormat) -> None:
        try:
            await clear(leg, carrier, format)
        except BaseException:
            worker.abort()
            raise
        self._notebook.write(leg.call_id, TimelineEvent.ROUTED, worker_id=leg.worker_id, path="relayed")

    async def _say_busy(self, leg: Leg, carrier: End, caller: Caller) -> LegEnd:
        try:
            epoch = caller.record.epoch if caller.record else 0
            await end_refused(self._registry, self._meter, caller.call_id, Reason.BUSY_MESSAGE, fence=epoch)
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
        await clear(leg, carrier, caller.token.format)
        await speak(carrier, self._busy_prompt.frames(caller.token.format), leg.has_begun)
        return LegEnd(Side.GATEWAY, CloseCode.NORMAL)


def _ended_elsewhere(why: Gone) -> LegEnd:
    if why is Gone.REPLACED:
        return LegEnd(Side.GATEWAY, CloseCode.POLICY, "replaced by a newer stream")
    return LegEnd(Side.GATEWAY, CloseCode.NORMAL, "the call is over")
