"""A tool that the model has called, as a timeline shows it. Pure."""

import json
from dataclasses import dataclass
from typing import Any

LONGEST_SHOWN = 2000  # characters of arguments, and of an answer


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that runs; `began_at` by the monotonic clock."""

    name: str
    began_at: float
    arguments: Any = None
    is_known: bool = True  # the bot has a tool of this name


def shown(value: Any) -> str:
    """A tool's arguments or answer as a text of bounded length: JSON where it can be, texts as they are."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else _json(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return f"a {type(value).__name__}, which is no JSON"
