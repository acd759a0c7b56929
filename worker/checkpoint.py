"""What a call needs to go on in another session: the conversation so far, as data. Pure.

What is kept is what the model would be shown next, but for the messages that the bot itself began with (its prompt):
those come from the next session's bot, which may be a newer one, and only their places are kept. The tools come from
that bot, too. What the caller says is in here: it belongs into the registry (encrypted, if there is a key) and nowhere
else.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1
MAX_BYTES = 256_000
INSTRUCTIONS = frozenset({"system", "developer"})  # of a bot's in the course of the call, and summaries
ROLES = frozenset({"user", "assistant", "tool"}) | INSTRUCTIONS
RUNNING = "IN_PROGRESS"  # Pipecat's own content of a tool message that waits for its result
OUTCOME_UNKNOWN = json.dumps({"error": "outcome unknown: the call was moved to another process while this tool ran"})

Message = Mapping[str, Any]


class Unreadable(ValueError):
    """A checkpoint that cannot be used; the message says why in one word of `AFRESH`."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One call at one moment. `state` is the bot's own, JSON; `unheard` are sentences begun and not yet heard."""

    bot: str
    version: str = ""
    messages: Sequence[Message] = ()
    state: Mapping[str, Any] = field(default_factory=dict)
    unheard: Sequence[str] = ()
    saved_at_ms: int = 0
    own_count: int = 0  # messages that the bot began with
    own: Sequence[tuple[int, int]] | None = None
    """Which of them the model would still be shown, and before which of `messages`; None (in an earlier version): all
    of them, first."""


def encode(checkpoint: Checkpoint) -> str:
    """As JSON of at most `MAX_BYTES`: the oldest turns go first. Raises `ValueError` when even none of them fit."""
    messages, own = conversation_of(checkpoint.messages), checkpoint.own
    while True:
        text = json.dumps(
            {
                "schema": SCHEMA,
                "bot": checkpoint.bot,
                "version": checkpoint.version,
                "messages": messages,
                "state": checkpoint.state,
                "unheard": list(checkpoint.unheard),
                "saved_at_ms": checkpoint.saved_at_ms,
                "own_count": checkpoint.own_count,
                "own": own,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )
        size = len(text.encode(errors="replace"))
        if size <= MAX_BYTES:
            return text
        if not messages:
            raise ValueError(f"the bot's own state takes {size} bytes; {MAX_BYTES} is the limit")
        count, messages = len(messages), _without_oldest(messages, (size - MAX_BYTES) / size)
        gone = count - len(messages)
        own = None if own is None else [(index, max(0, place - gone)) for index, place in own]


def decode(text: str) -> Checkpoint:
    """The checkpoint behind the text. Raises `Unreadable`, whatever the text."""
    try:
        given = json.loads(text)
        if given["schema"] != SCHEMA:
            raise Unreadable("other_schema")
        return Checkpoint(
            bot=str(given["bot"]),
            version=str(given["version"]),
            messages=conversation_of(given["messages"]),
            state=dict(given["state"]),
            unheard=[str(sentence) for sentence in given["unheard"]],
            saved_at_ms=int(given["saved_at_ms"]),
            own_count=int(given.get("own_count", 0)),
            own=_places(given.get("own")),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise error if isinstance(error, Unreadable) else Unreadable("unreadable") from None


def _places(given: Any) -> list[tuple[int, int]] | None:
    return None if given is None else [(int(index), int(place)) for index, place in given]


def without_own(messages: Sequence[Any], own: Sequence[Any]) -> tuple[list[Message], list[tuple[int, int]]]:
    """The context's messages without those that the bot began with, and which of those stood before which of them.

    They are known by what they say: one that was edited in place is not the bot's any more.
    """
    found: list[Message] = []
    places: list[tuple[int, int]] = []
    missing = dict(enumerate(own))
    for message in messages:
        index = next((index for index, other in missing.items() if other == message), None)
        if index is None:
            found += conversation_of([message])
        else:
            del missing[index]
            places.append((index, len(found)))
    return found, places


def shown(checkpoint: Checkpoint, own: Sequence[Any]) -> list[Any]:
    """What the model is to be shown next, in a session whose bot begins with these messages."""
    messages: list[Any] = list(checkpoint.messages)
    if checkpoint.own is None or checkpoint.own_count != len(own):
        return settled([*own, *messages])
    for index, place in reversed(checkpoint.own):
        if 0 <= index < len(own):
            messages.insert(place, own[index])
    return settled(messages)


def conversation_of(messages: Iterable[Any]) -> list[Message]:
    """Those of the context's messages that every model understands, and that can be kept."""
    return [message for message in messages if isinstance(message, Mapping) and message.get("role") in ROLES]


def waits_for_an_answer(messages: Sequence[Message]) -> bool:
    """Whether the model is to speak next: the caller, a tool or an instruction of the bot's came last."""
    return bool(messages) and messages[-1].get("role") != "assistant"


def settled(messages: Sequence[Any]) -> list[Any]:
    """No tool is left running: it is never run again, and what came of it is said to be unknown."""
    plain = [message for message in messages if isinstance(message, Mapping)]
    answered = {message.get("tool_call_id") for message in plain if message.get("role") == "tool"}
    found: list[Any] = []
    for message in messages:
        if not isinstance(message, Mapping):
            found.append(message)
            continue
        if message.get("role") == "tool" and message.get("content") == RUNNING:
            message = {**message, "content": OUTCOME_UNKNOWN}
        found.append(message)
        for call in message.get("tool_calls") or ():
            if call.get("id") not in answered:
                found.append({"role": "tool", "tool_call_id": call.get("id"), "content": OUTCOME_UNKNOWN})
    return found


def _without_oldest(messages: list[Message], share: float) -> list[Message]:
    """This share of them goes, from the oldest on, up to where the caller speaks: no result without its call.

    Instructions among them stay, unless nothing else is left to go.
    """
    instructions = [message for message in messages if message.get("role") in INSTRUCTIONS]
    if len(instructions) == len(messages):
        return messages[1:]
    first = next(at for at, message in enumerate(messages) if message.get("role") not in INSTRUCTIONS)
    at = min(len(messages), first + max(1, int((len(messages) - first) * share)))
    while at < len(messages) and messages[at].get("role") != "user":
        at += 1
    return [*(message for message in messages[:at] if message.get("role") in INSTRUCTIONS), *messages[at:]]
