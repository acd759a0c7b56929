"""`sfvopi calls`, `calls show`, `wire`, `workers`, `end`: what a running fleet says of its calls."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

import typer

from shared.cli import story
from shared.cli.drain import state_of
from shared.cli.faults import CliFault, reported
from shared.cli.reach import ApiOption, JsonOption, reach
from shared.cli.terminal import one_line, say, show, show_json, show_table

calls_app = typer.Typer(rich_markup_mode=None, add_completion=False)
CallId = Annotated[str, typer.Argument(metavar="CALL", help="The call's id: SFVoPI's call_uuid.")]
BotName = Annotated[str, typer.Argument(metavar="BOT", help="module:function, as `sfvopi workers` names it.")]
RECORD_FIELDS = (
    *("state", "result", "reason", "detail", "direction", "from_number", "to_number", "request_uuid", "bot"),
    *("codec", "sample_rate", "worker_id", "attachments", "stream_id", "carrier_call_id", "carrier_status"),
    *("carrier_duration_s", "hangup_cause"),
)


@calls_app.callback(invoke_without_command=True)
@reported
def list_calls(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    as_json: JsonOption = False,
    api: ApiOption = "",
) -> None:
    """List the fleet's calls, newest first; `sfvopi calls show CALL` shows one.

    \b
    Examples:
      sfvopi calls
      sfvopi calls --limit 100 --json | jq '.[].reason'
      sfvopi calls show 550e8400-e29b-41d4-a716-446655440000
    """
    if context.invoked_subcommand is None:
        asyncio.run(_list_calls(limit, as_json, api))


async def _list_calls(limit: int, as_json: bool, api: str) -> None:
    async with reach(api) as fleet:
        calls = await fleet.calls(limit)
    if as_json:
        return show_json(calls)
    if not calls:
        return show("no calls yet")
    columns = ["call", "when", "direction", "from", "to", "state", "outcome", "length", "worker"]
    return show_table(columns, [_row(call) for call in calls])


def _row(call: dict[str, Any]) -> list[str]:
    outcome = f"{call['result']}: {call['reason']}" if call.get("reason") else ""
    lasted = call.get("ended_at_ms") and (call["ended_at_ms"] - call["created_at_ms"]) / 1000
    return [
        *(call["call_id"], clock(call.get("created_at_ms", 0), with_date=True), call.get("direction", "")),
        *(call.get("from_number", ""), call.get("to_number", ""), _call_state(call), outcome),
        *(f"{lasted:.1f} s" if lasted else "", call.get("worker_id", "")),
    ]


@calls_app.command("show")
@reported
async def show_call(call_id: CallId, as_json: JsonOption = False, api: ApiOption = "") -> None:
    """Show one call: its record, its figures, and its timeline.

    \b
    Examples:
      sfvopi calls show 550e8400-e29b-41d4-a716-446655440000
      sfvopi calls show 550e8400-e29b-41d4-a716-446655440000 --json
    """
    async with reach(api) as fleet:
        found = await fleet.call(call_id)
    if as_json:
        return show_json(found)
    record = found["call"]
    show(f"call {record['call_id']}", style="bold")
    for name in RECORD_FIELDS:
        if record.get(name) not in (None, "", 0, -1):
            show(one_line(f"  {name:<20} {record[name]}"))
    if record.get("figures"):
        show("figures", style="bold")
        for name, value in record["figures"].items():
            show(f"  {name:<20} {value:g}")
    return _show_timeline(found["timeline"])


@reported
async def wire(call_id: CallId, as_json: JsonOption = False, api: ApiOption = "") -> None:
    """What was on the wire of one call: events, header names, close codes and timings. No payloads, no keys, no texts.

    The first real call is read with this: see docs, "First real call checklist".

    \b
    Examples:
      sfvopi wire 550e8400-e29b-41d4-a716-446655440000
      sfvopi wire 550e8400-e29b-41d4-a716-446655440000 --json > first-call.json
    """
    async with reach(api) as fleet:
        found = await fleet.call(call_id)
    entries = story.of_the_wire(found["timeline"])
    if as_json:
        return show_json({"call_id": call_id, "wire": entries})
    if not entries:
        raise CliFault(f"call {call_id} has no wire entries: no webhook and no stream of it was seen")
    return _show_timeline(entries, in_full=True)


@reported
async def workers(as_json: JsonOption = False, api: ApiOption = "") -> None:
    """List the fleet's workers: state, calls, capacity; how long one that drains will take; what a loaded one offers.

    A worker that cannot run all of its bots shows those that it can. Bots whose calls kill workers (quarantined) are
    listed below them, with what to do.

    \b
    Examples:
      sfvopi workers
      sfvopi workers --json --api http://10.0.0.7:9000
    """
    async with reach(api) as fleet:
        found, whole, quarantined = await fleet.workers(), await fleet.fleet(), await fleet.quarantined()
    if as_json:
        return show_json({"workers": found, "fleet": whole, "quarantined": quarantined})
    rows = [[w["worker_id"], w["address"], state_of(w), _calls(w), w.get("version", "")] for w in found]
    heads = ["worker", "address", "state", "calls", "version"]
    if any(w.get("bots") is not None for w in found):
        heads.append("bots")
        rows = [[*row, _bots(w)] for row, w in zip(rows, found, strict=True)]
    show_table(heads, rows)
    if whole.get("drift"):
        say(f"Redis, memory and sockets disagree on {whole['drift']} calls, see docs/operating.md", style="red")
    for bot in quarantined:
        say(tell_quarantine(bot), style="red")
    waiting = f", {whole['waiting']} callers in line" if whole.get("waiting") else ""
    return show(f"{whole['used']} of {whole['capacity']} slots in use, {whole['free']} free{waiting}")


@reported
async def release(bot: BotName, as_json: JsonOption = False, api: ApiOption = "") -> None:
    """Let the calls of a quarantined bot in again: its calls have killed workers, and you know why it was not the bot.

    A deploy of the bot ends its quarantine by itself: workers with other code take its calls.

    \b
    Example:
      sfvopi release my_bots.sales:bot
    """
    async with reach(api) as fleet:
        is_released = await fleet.release(bot)
    if as_json:
        return show_json({"bot": bot, "released": is_released})
    return show("released" if is_released else f"{bot} is not quarantined; see `sfvopi workers`")


def tell_quarantine(quarantine: dict[str, Any]) -> str:
    """Since when, why, and what to do, in a few sentences."""
    bot, kept = quarantine["bot"], quarantine["kept_worker"]
    goes_on = f"only {kept} takes its new calls" if kept else "its new calls get the number's overflow"
    return (
        f"{bot} is quarantined since {clock(quarantine['since_ms'], with_date=True)}: calls of it killed their workers "
        f"({', '.join(quarantine['calls'])}). On {', '.join(quarantine['workers'])} {goes_on}. "
        f"Deploy a bot without the fault, or: sfvopi release {bot}"
    )


@reported
async def end(call_id: CallId, as_json: JsonOption = False, api: ApiOption = "") -> None:
    """End one call: its session, its stream, its slot.

    \b
    Example:
      sfvopi end 550e8400-e29b-41d4-a716-446655440000
    """
    async with reach(api) as fleet:
        ended = await fleet.end(call_id)
    if as_json:
        return show_json({"call_id": call_id, "ended": ended})
    return show("ended" if ended else "it was over already")


def clock(at_ms: int, with_date: bool = False) -> str:
    """A time for people: local, milliseconds without a date, seconds with one."""
    if not at_ms:
        return ""
    moment = datetime.fromtimestamp(at_ms / 1000).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S") if with_date else moment.strftime("%H:%M:%S.%f")[:-3]


def _calls(worker: dict[str, Any]) -> str:
    offers = worker.get("offers", worker["capacity"])
    loaded = f", offers {offers}" if offers < worker["capacity"] else ""
    return f"{worker['used']} of {worker['capacity']}{loaded}"


def _bots(worker: dict[str, Any]) -> str:
    """Those that it can run."""
    bots = worker.get("bots")
    return "all" if bots is None else ", ".join(bots) or "none"


def _call_state(call: dict[str, Any]) -> str:
    return "in line" if call.get("held") else str(call.get("state", ""))


def _show_timeline(timeline: list[dict[str, Any]], in_full: bool = False) -> None:
    show("timeline", style="bold")
    in_order = sorted(timeline, key=lambda entry: int(entry["at_ms"]))  # several processes wrote it, each in batches
    begin = in_order[0]["at_ms"] if in_order else 0
    for entry in in_order:
        told = f"{entry['event']} {story.fields(entry.get('data') or {})}" if in_full else story.tell(entry)
        since = f"{(entry['at_ms'] - begin) / 1000:+.3f}"
        show(one_line(f"  {clock(entry['at_ms'])} {since:>9}  {entry.get('source', ''):<24} {told}".rstrip()))
