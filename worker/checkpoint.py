"""What a call needs to go on in another session: the conversation so far, as data. Pure.

Messages are those of caller, bot and tools, as the LLM's context holds them; the prompt and the tools themselves come
from the bot, which may be a newer one. What the caller says is in here: it belongs into the registry (encrypted, if
there is a key) and nowhere else.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1
MAX_BYTES = 256_000
ROLES = frozenset({"user", "assistant", "tool"})
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


def encode(checkpoint: Checkpoint) -> str:
    """As JSON of at most `MAX_BYTES`: the oldest turns go first. Raises `ValueError` when even none of them fit."""
    messages = conversation_of(checkpoint.messages)
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
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )
        size = len(text.encode(errors="replace"))
        if size <= MAX_BYTES:
            return text
        if not messages:
            raise ValueError(f"the bot's own state takes {size} bytes; {MAX_BYTES} is the limit")
        messages = _without_oldest(messages, (size - MAX_BYTES) / size)


def decode(text: str) -> Checkpoint:
    """The checkpoint behind the text. Raises `Unreadable`, whatever the text."""
    try:
        given = json.loads(text)
        if given["schema"] != SCHEMA:
            raise Unreadable("other_schema")
        return Checkpoint(
            bot=str(given["bot"]),
            version=str(given["version"]),
            messages=settled(conversation_of(given["messages"])),
            state=dict(given["state"]),
            unheard=[str(sentence) for sentence in given["unheard"]],
            saved_at_ms=int(given["saved_at_ms"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise error if isinstance(error, Unreadable) else Unreadable("unreadable") from None


def conversation_of(messages: Iterable[Any]) -> list[Message]:
    """Those of the context's messages that are conversation, and plain."""
    return [message for message in messages if isinstance(message, Mapping) and message.get("role") in ROLES]


def settled(messages: Sequence[Message]) -> list[Message]:
    """No tool is left running: it is never run again, and what came of it is said to be unknown."""
    answered = {message.get("tool_call_id") for message in messages if message.get("role") == "tool"}
    found: list[Message] = []
    for message in messages:
        if message.get("role") == "tool" and message.get("content") == RUNNING:
            message = {**message, "content": OUTCOME_UNKNOWN}
        found.append(message)
        for call in message.get("tool_calls") or ():
            if call.get("id") not in answered:
                found.append({"role": "tool", "tool_call_id": call.get("id"), "content": OUTCOME_UNKNOWN})
    return found


def _without_oldest(messages: list[Message], share: float) -> list[Message]:
    """This share of them goes, from the oldest on, up to where the caller speaks: no result without its call."""
    at = min(len(messages), max(1, int(len(messages) * share)))
    while at < len(messages) and messages[at].get("role") != "user":
        at += 1
    return messages[at:]
