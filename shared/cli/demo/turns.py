"""The conversation as turns, from what the caller did and what the fleet noted. Pure.

What was heard belongs to the last thing that the caller had begun to say; what the bot said belongs to the last thing
that it had heard: words of an answer that was interrupted are noted when the caller is speaking already.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.calls.timeline import TimelineEvent

SLACK_MS = 200  # the carrier's note of a key may be a moment later than the worker's


@dataclass(slots=True)
class Turn:
    """The caller's words (or a key), what the bot heard of them, and its answer. The first is the bot's greeting."""

    at_ms: int
    caller: str = ""
    key: str = ""
    heard_by_bot: str = ""
    bot: str = ""
    was_cut: bool = False

    def to_dict(self) -> dict[str, str | bool]:
        """caller, heard_by_bot, bot; and key or cut (the bot was interrupted within its last sentence) if so."""
        told: dict[str, str | bool] = {"caller": self.caller, "heard_by_bot": self.heard_by_bot, "bot": self.bot}
        return told | ({"key": self.key} if self.key else {}) | ({"cut": True} if self.was_cut else {})


def turns_of(begun: Iterable[Turn], timeline: Iterable[Mapping[str, Any]]) -> list[Turn]:
    """The turns that the caller began (in order of time), completed from the call's timeline."""
    turns = [Turn(at_ms=0), *begun]
    heard = turns[0]
    for entry in timeline:
        event, data = entry["event"], entry.get("data") or {}
        if event == TimelineEvent.CALLER_SAID:
            heard = _begun_by(turns, entry["at_ms"], is_key=False)
            heard.heard_by_bot = _joined(heard.heard_by_bot, data.get("text", ""))
        elif event == TimelineEvent.DIGIT:
            heard = _begun_by(turns, entry["at_ms"], is_key=True)
        elif event == TimelineEvent.BOT_SAID:
            heard.bot = _joined(heard.bot, data.get("text", ""))
            heard.was_cut = bool(data.get("cut"))
    return turns


def _begun_by(turns: list[Turn], at_ms: int, is_key: bool) -> Turn:
    fitting = [turn for turn in turns if turn.at_ms <= at_ms + SLACK_MS and bool(turn.key) is is_key]
    return fitting[-1] if fitting else turns[0]


def _joined(before: str, text: str) -> str:
    return f"{before} {text}".strip()
