"""A call's timeline in words: one line an entry. Pure; the data of each event is told in `shared.calls.timeline`."""

from collections.abc import Callable, Mapping
from typing import Any

from shared.calls.timeline import TimelineEvent as E

Entry = Mapping[str, Any]
Data = Mapping[str, Any]
CONTENT = ("text", "heard", "digit", "arguments", "answer")  # of the conversation: never in what is told of the wire
WIRE_EVENTS = frozenset(
    {
        *(
            E.WEBHOOK,
            E.RESERVED,
            E.REFUSED,
            E.HELD,
            E.ROUTED,
            E.REATTACHED,
            E.UPGRADED,
            E.ATTACHED,
            E.STREAM_STARTED,
            E.FIRST_AUDIO,
        ),
        *(E.DIGIT, E.CHECKPOINT_PLAYED, E.AUDIO_CLEARED, E.WIRE, E.DETACHED, E.ADOPTED, E.REFUSED_STREAM),
        *(E.ENDING, E.ENDED, E.CARRIER_ENDED),
    }
)


def tell(entry: Entry) -> str:
    """What happened, for people."""
    data = dict(entry.get("data") or {})
    telling = _TELLINGS.get(str(entry.get("event")))
    return telling(data) if telling else f"{entry.get('event')} {fields(data)}".rstrip()


def fields(data: Data) -> str:
    """`name=value` of everything, nested mappings dotted."""
    parts = []
    for name, value in data.items():
        if isinstance(value, Mapping):
            parts += [f"{name}.{inner}" for inner in fields(value).split(" ") if inner]
        elif isinstance(value, list | tuple):
            parts.append(f"{name}={','.join(map(str, value))}")
        elif value not in (None, ""):
            parts.append(f"{name}={_number(value)}")
    return " ".join(parts)


def without_content(entry: Entry) -> dict[str, Any]:
    """The entry without what was said and pressed."""
    data = {name: value for name, value in (entry.get("data") or {}).items() if name not in CONTENT}
    return {**entry, "data": data}


def of_the_wire(timeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the carrier and we exchanged: events, header names, close codes and timings, no payloads."""
    return [without_content(entry) for entry in timeline if entry.get("event") in WIRE_EVENTS]


def _number(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _ms(data: Data, before: str = " after ") -> str:
    return f"{before}{float(data['ms']):.0f} ms" if data.get("ms") is not None else ""


def how_much_was_heard(data: Data) -> str:
    """Of what the bot said, in brackets; empty if it was all."""
    how = "cut off" if data.get("cut") else "the voice failed" if data.get("failed") else ""
    if not how:
        return ""
    parts = []
    if data.get("heard"):
        parts.append(f"“{data['heard']}”")
    elif data.get("heard_words"):
        parts.append(f"{data['heard_words']} words")
    if data.get("heard_s"):
        parts.append(f"{data['heard_s']:g} s {'of what follows' if parts else 'of it'}")
    if not parts and "heard_words" not in data:
        return f"  ({how})"
    return f"  ({how}; heard: {' and '.join(parts) or 'nothing'})"


def _said(who: str) -> Callable[[Data], str]:
    def telling(data: Data) -> str:
        if data.get("text"):
            return f"{who}: {data['text']}{how_much_was_heard(data)}"
        hint = "" if data.get("cut") or data.get("failed") else " (texts are kept with SFVOPI_TRANSCRIPTS=on)"
        return f"{who} said {data.get('words', '?')} words{how_much_was_heard(data)}{hint}"

    return telling


def _tool(data: Data) -> str:
    failure = f": {data['exception']}" if data.get("exception") else ""
    text = f"tool {data.get('name') or '?'}: {data.get('outcome')}{failure}{_ms(data)}"
    asked = f"  asked {data['arguments']}" if data.get("arguments") else ""
    return text + asked + (f", answered {data['answer']}" if data.get("answer") else "")


def _rest(data: Data, *told: str) -> str:
    rest = fields({name: value for name, value in data.items() if name not in told})
    return f" ({rest})" if rest else ""


_TELLINGS: dict[str, Callable[[Data], str]] = {
    E.WEBHOOK: lambda d: (
        f"webhook {d.get('webhook')}: {d.get('result')}{_ms(d, ' in ')}" + _rest(d, "webhook", "result", "ms")
    ),
    E.RESERVED: lambda d: f"a slot is reserved on {d.get('worker_id')}",
    E.REFUSED: lambda d: f"refused: {d.get('reason')}{', its bot is quarantined' if d.get('bot') else ''}",
    E.HELD: lambda d: f"the caller waits in line, at place {d.get('place')}",
    E.ROUTED: lambda d: f"the stream goes to {d.get('worker_id')} ({d.get('path')})",
    E.REATTACHED: lambda d: f"{d.get('lost')} is lost; the call goes on at {d.get('worker_id')}{_ms(d)}",
    E.UPGRADED: lambda d: f"the carrier connects{_rest(d)}",
    E.ATTACHED: lambda d: f"attached to {d.get('worker_id')}{_ms(d)}",
    E.STREAM_STARTED: lambda d: f"stream {d.get('stream_id')} starts{' again' if d.get('repeated') else ''}",
    E.FIRST_AUDIO: lambda d: f"first audio of the bot{_ms(d)}",
    E.CALLER_SAID: _said("caller"),
    E.BOT_SAID: _said("bot"),
    E.TOOL: _tool,
    E.INTERRUPTED: lambda d: f"the caller interrupts; the bot is silenced{_ms(d)}",
    E.DIGIT: lambda d: f"key pressed: {d['digit']}" if d.get("digit") else "a key is pressed",
    E.CHECKPOINT_PLAYED: lambda d: f"checkpoint {d.get('name')} played{_ms(d)}",
    E.AUDIO_CLEARED: lambda d: f"the carrier has cleared its audio, number {d.get('sequence_number')}{_ms(d)}",
    E.WIRE: lambda d: f"on the wire: {fields(d)}",
    E.PROVIDER_ERROR: lambda d: f"provider error: {d.get('provider')} {d.get('fault')}{_rest(d, 'provider', 'fault')}",
    E.TURN: lambda d: f"turn: {fields(d)}",
    E.DETACHED: lambda d: f"the stream is gone{_rest(d)}",
    E.ADOPTED: lambda d: f"a returning stream is adopted{_rest(d)}",
    E.REFUSED_STREAM: lambda d: f"a stream is refused: {fields(d)}",
    E.ENDING: lambda d: f"the session ends: {d.get('reason')}",
    E.ENDED: lambda d: f"ended: {d.get('result', '')} ({d.get('reason')})",
    E.CARRIER_ENDED: lambda d: f"the carrier says: {fields(d)}",
}
