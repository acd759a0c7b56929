"""The call as it happens: what the simulated carrier sees and what the fleet notes, in one stream of lines.

The fleet's notes arrive in batches, so a line is held back for a moment and all are told in order of their times.
"""

import asyncio
import heapq
import time
from collections.abc import Callable
from typing import Any

from rich.text import Text

from shared.calls.timeline import TimelineEvent as T
from shared.carrier.events import CarrierEvent
from shared.carrier.events import EventKind as K
from shared.cli.api import FleetApi
from shared.cli.demo.turns import Turn
from shared.cli.faults import CliFault
from shared.cli.story import how_much_was_heard
from shared.cli.terminal import one_line

ASK_EVERY_S = 0.15
HELD_BACK_MS = 900  # the worker writes its notes twice a second
STYLES = {"caller": "bold cyan", "bot": "bold green", "bot hears": "green", "carrier": "dim", "gateway": "dim"}

_OF_CARRIER: dict[K, tuple[str, str]] = {
    K.ANSWER_ASKED: ("carrier", "webhook: {which} answer URL"),
    K.ANSWERED: ("gateway", "answers in {ms:.0f} ms: a stream in {codec} {sample_rate}"),
    K.ANSWER_FAILED: ("gateway", "no answer: {why}"),
    K.CONNECTED: ("carrier", "connects the stream in {ms:.0f} ms"),
    K.CONNECT_FAILED: ("carrier", "cannot connect: {why}"),
    K.CALLER_SPEAKING: ("caller", "{text}"),
    K.BOT_SPEAKING: ("carrier", "the caller hears the bot"),
    K.KEY_PRESSED: ("caller", "presses {digit}"),
    K.AUDIO_CLEARED: ("carrier", "drops {dropped_ms:.0f} ms of queued audio"),
    K.CHECKPOINT_PLAYED: ("carrier", "checkpoint {name} is played"),
    K.SOCKET_DROPPED: ("carrier", "the stream drops: close code {code}"),
    K.ENDED: ("carrier", "the call is ended by the {by}: close code {code}"),
    K.HANGUP_SENT: ("carrier", "hangup webhook: status {status}"),
}
_OF_FLEET: dict[str, tuple[str, str]] = {
    T.RESERVED: ("gateway", "reserves a slot on {worker_id}"),
    T.REFUSED: ("gateway", "refuses the call: {reason}"),
    T.ROUTED: ("gateway", "sends the stream to {worker_id}"),
    T.ATTACHED: ("worker", "{worker_id} takes the stream"),
    T.FIRST_AUDIO: ("worker", "first audio {ms:.0f} ms after start"),
    T.CALLER_SAID: ("bot hears", "{text}"),
    T.BOT_SAID: ("bot", "{text}{cut}"),
    T.INTERRUPTED: ("worker", "interruption: the bot is silenced{after}"),
    T.TOOL: ("worker", "tool {name}: {outcome} after {ms:.0f} ms"),
    T.DIGIT: ("bot hears", "key {digit}"),
    T.PROVIDER_ERROR: ("worker", "provider error: {provider} {fault}"),
    T.ENDED: ("fleet", "the call has ended: {result}, {reason}"),
}


class LiveView:
    """Gathers lines from both sides and prints them in order. `begun` is what the caller did, as turns."""

    def __init__(self, api: FleetApi, call_id: str, show: Callable[[Text], None]) -> None:
        self.begun: list[Turn] = []
        self.timeline: list[dict[str, Any]] = []
        self._api, self._call_id, self._show = api, call_id, show
        self._began_at_ms = _now_ms()
        self._waiting: list[tuple[int, int, str, str]] = []  # time, number, who, what
        self._count = 0

    def on_carrier_event(self, event: CarrierEvent) -> None:
        """Called by the carrier, at once."""
        data = event.data
        if event.kind is K.CALLER_SPEAKING:
            self.begun.append(Turn(event.at_ms, caller=str(data.get("text", ""))))
        elif event.kind is K.KEY_PRESSED:
            self.begun.append(Turn(event.at_ms, key=str(data.get("digit", ""))))
        if event.kind in _OF_CARRIER:
            who, what = _OF_CARRIER[event.kind]
            interrupts = "  (interrupts)" if data.get("is_interruption") else ""
            self._add(event.at_ms, who, what.format_map(_Lenient(data)) + interrupts)

    async def follow(self) -> None:
        """Ask for the fleet's notes until cancelled; a fleet that does not answer for a moment is asked again."""
        while True:
            await self.catch_up()
            self._print_until(_now_ms() - HELD_BACK_MS)
            await asyncio.sleep(ASK_EVERY_S)

    async def catch_up(self) -> None:
        """Take the notes that are new."""
        try:
            entries, _ = await self._api.timeline(self._call_id, len(self.timeline))
        except CliFault:
            return
        self.timeline += entries
        for entry in entries:
            if entry["event"] in _OF_FLEET:
                who, what = _OF_FLEET[entry["event"]]
                data = entry.get("data") or {}
                cut = how_much_was_heard(data)
                after = f" after {data['ms']:.0f} ms" if "ms" in data else ""
                self._add(entry["at_ms"], who, what.format_map(_Lenient({**data, "after": after, "cut": cut})))

    async def finish(self, within_s: float) -> None:
        """Wait for the note of the call's end, and print what is left."""
        deadline = asyncio.get_running_loop().time() + within_s
        while not self._has_ended and asyncio.get_running_loop().time() < deadline:
            await self.catch_up()
            await asyncio.sleep(ASK_EVERY_S)
        self._print_until(_now_ms() + 60_000)

    @property
    def _has_ended(self) -> bool:
        return any(entry["event"] == T.ENDED for entry in self.timeline)

    def _add(self, at_ms: int, who: str, what: str) -> None:
        self._count += 1
        heapq.heappush(self._waiting, (at_ms, self._count, who, what))

    def _print_until(self, at_ms: int) -> None:
        while self._waiting and self._waiting[0][0] <= at_ms:
            told_ms, _, who, what = heapq.heappop(self._waiting)
            line = Text(f"{(told_ms - self._began_at_ms) / 1000:7.2f} s  ", style="dim")
            line.append(f"{who:<10}", style=STYLES.get(who, ""))
            line.append(f" {one_line(what)}", style="bold" if who in ("caller", "bot") else STYLES.get(who, ""))
            self._show(line)


class _Lenient(dict[str, Any]):
    """For format strings: what is missing is a blank, never an error."""

    def __missing__(self, key: str) -> "_Blank":
        return _Blank()


class _Blank:
    def __format__(self, spec: str) -> str:
        return "?"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
