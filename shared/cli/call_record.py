"""What the fleet itself says of a call that was placed here: how it ended, and what was said in it.

The caller's ear cannot tell an apology from an answer. The record can; it is asked for once the call is over, and for a
moment only: a worker writes the end of a call within a second.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from shared.calls.outcome import Result
from shared.calls.timeline import TimelineEvent
from shared.carrier.call import OUTCOME_OF
from shared.carrier.report import CallOutcome, CallReport
from shared.cli.api import FleetApi
from shared.cli.faults import CliFault
from shared.cli.reach import RunFile, reach
from shared.networks import is_loopback
from shared.settings.cli import CliSettings
from shared.settings.fleet import SettingsError

ENDED_WITHIN_S = 6.0
ASK_EVERY_S = 0.2
PORTS = {"http": 80, "https": 443}


@dataclass(slots=True)
class CallAtFleet:
    """The call's record and timeline. `why` says, for people, what could not be had."""

    record: dict[str, Any] = field(default_factory=dict)
    timeline: list[dict[str, Any]] = field(default_factory=list)
    why: str = ""

    @property
    def is_over(self) -> bool:
        """The record has ended, and the worker that had the call has written the last of its timeline."""
        return bool(self.record.get("reason")) and (bool(self._last_word) or not self.record.get("attachments"))

    @property
    def verdicts(self) -> list[Mapping[str, Any]]:
        """`result` and `reason`, by the record and by the worker that had the call.

        They differ where the caller hung up into the apology: the record has the carrier's word, which came first.
        """
        return [verdict for verdict in (self.record, self._last_word) if verdict.get("reason")]

    @property
    def _last_word(self) -> Mapping[str, Any]:
        by_worker = [e for e in self.timeline if e["event"] == TimelineEvent.ENDED and "worker:" in e["source"]]
        return by_worker[-1].get("data") or {} if by_worker else {}

    def texts(self, event: TimelineEvent, since_ms: int) -> list[dict[str, Any]] | None:
        """What was said, as the timeline has it, by ms after `since_ms`; None if the fleet keeps no texts."""
        said = [entry for entry in self.timeline if entry["event"] == event]
        if any("text" not in entry.get("data", {}) for entry in said) or not self.timeline:
            return None
        return [{"at_ms": entry["at_ms"] - since_ms, **_without_count(entry["data"])} for entry in said]


def fleet_behind(url: str, api: str = "") -> FleetApi | None:
    """The API of the fleet that answers at this URL: the one that was named, or the one that is up in this folder."""
    local = RunFile.read()
    if api or _is_named():
        return reach(api)
    if local is not None and _place(urlsplit(url)) == _place(urlsplit(local.answer_url)):
        return FleetApi(local.api_url, local.api_token)
    return None


async def ask_fleet(fleet: FleetApi, call_id: str) -> CallAtFleet:
    """What it knows of the call, when the call has ended there too. Raises nothing."""
    loop = asyncio.get_running_loop()
    until, found = loop.time() + ENDED_WITHIN_S, CallAtFleet()
    try:
        async with fleet:
            while not found.is_over and loop.time() < until:
                await asyncio.sleep(ASK_EVERY_S if found.record else 0)
                known = await fleet.find(call_id)
                if known is None:
                    return CallAtFleet(why=f"the fleet at {fleet.url} does not know this call")
                found = CallAtFleet(known["call"], known["timeline"])
    except CliFault as fault:
        return CallAtFleet(why=f"the fleet could not be asked of this call: {fault}")
    if not found.record.get("reason"):
        found.why = f"by the fleet's record, the call still goes on {ENDED_WITHIN_S:g} s after its end"
    return found


def believe(report: CallReport, at_fleet: CallAtFleet) -> None:
    """Judge the call by its record too: what the fleet calls failed did not complete, whatever was heard."""
    for verdict in at_fleet.verdicts:
        outcome = OUTCOME_OF[_result_of(verdict)]
        if outcome is CallOutcome.COMPLETED:
            continue
        detail = f" ({at_fleet.record['detail']})" if at_fleet.record.get("detail") else ""
        report.errors.append(f"the fleet calls it {verdict['result']}: {verdict['reason']}{detail}")
        if report.outcome is CallOutcome.COMPLETED:
            report.outcome = outcome
        break
    if at_fleet.why:
        report.notes.append(at_fleet.why)


def _result_of(verdict: Mapping[str, Any]) -> Result:
    try:
        return Result(verdict.get("result", ""))
    except ValueError:  # a newer version's
        return Result.COMPLETED


def _without_count(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "words"}


def _is_named() -> bool:
    try:
        return bool(CliSettings.read().api_url)
    except SettingsError:
        return False  # they are no settings of this call


def _place(parts: SplitResult) -> tuple[str, int | None]:
    host = parts.hostname or ""
    return "loopback" if is_loopback(host) else host, parts.port or PORTS.get(parts.scheme)
