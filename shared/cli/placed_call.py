"""A call of `sfvopi call`, from its placing to the verdict on it.

Three judge it: what the caller heard, what the fleet's record says, and what was expected of the bot.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.calls.timeline import TimelineEvent
from shared.carrier.call import place_call
from shared.carrier.events import CarrierEvent
from shared.carrier.plan import CallPlan
from shared.carrier.report import CallOutcome, CallReport
from shared.carrier.telling import tell_event
from shared.cli import expectations
from shared.cli.api import FleetApi
from shared.cli.call_record import CallAtFleet, ask_fleet, believe
from shared.cli.terminal import err, one_line


@dataclass(frozen=True, slots=True)
class Placed:
    """A call that is over, and what is known of it beside the caller's report."""

    report: CallReport
    at_fleet: CallAtFleet = field(default_factory=CallAtFleet)
    recognised: list[str] | None = None

    @property
    def said(self) -> list[dict[str, Any]] | None:
        """What the bot said: `text`, and `heard` where the caller did not hear all of it. None: no texts are kept."""
        return self.at_fleet.texts(TimelineEvent.BOT_SAID, self.report.started_at_ms)

    @property
    def words(self) -> list[str] | None:
        """What the caller heard the bot say; None if nobody knows."""
        return expectations.heard_words(self.said or []) or self.recognised

    def to_dict(self) -> dict[str, Any]:
        record = {name: self.at_fleet.record.get(name, "") for name in ("result", "reason", "detail", "worker_id")}
        return {
            **self.report.to_dict(),
            "record": record if self.at_fleet.record else None,
            "bot_said": self.said,
            "bot_understood": self.at_fleet.texts(TimelineEvent.CALLER_SAID, self.report.started_at_ms),
            "recognised": self.recognised,
        }


async def place_and_judge(plan: CallPlan, fleet: FleetApi | None, expected: Sequence[str]) -> Placed:
    """Place the call; then ask the fleet, if there is one, and compare what the bot said with what was expected."""
    console = err()

    def tell(event: CarrierEvent) -> None:
        console.print(one_line(tell_event(event)))

    report = await place_call(plan, tell)
    at_fleet = await ask_fleet(fleet, report.call_uuid) if fleet and report.webhook_status else CallAtFleet()
    believe(report, at_fleet)
    placed = Placed(report, at_fleet)
    if expected and not placed.said and expectations.can_recognise():
        placed = Placed(report, at_fleet, await recognise(report))
    if placed.words is not None or not report.heard_s:
        require(report, expected, placed.words or [])
    return placed


async def recognise(report: CallReport) -> list[str] | None:
    """The words of what was heard; None, and an error in the report, if that cannot be done."""
    err().print("what was heard is being recognised")
    try:
        return await expectations.recognise(report)
    except expectations.NotRecognised as error:
        report.errors.append(str(error))
        report.outcome = CallOutcome.FAILED
        return None


def require(report: CallReport, expected: Sequence[str], said: Sequence[str]) -> None:
    """What was expected and not said makes the call a failed one."""
    for text in expectations.missing(expected, said):
        report.errors.append(f"the bot did not say {text!r}")
        report.outcome = CallOutcome.FAILED
    if not said and expected:
        report.notes.append("the bot said nothing that could be compared with --expect")


def rows_of(placed: Placed) -> list[tuple[str, str]]:
    """What the fleet, or the recognition, adds to the table."""
    record = placed.at_fleet.record
    rows = [("record", f"{record['result']}: {record['reason']}")] if record.get("reason") else []
    if record.get("detail"):
        rows.append(("", record["detail"]))
    rows += [("bot said", str(entry["text"])) for entry in placed.said or []]
    return rows + [("recognised", text) for text in placed.recognised or []]
